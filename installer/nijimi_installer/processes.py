"""A program's name enters; whether it runs now leaves."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

__all__ = ["is_running"]


def is_running(name: str, proc: Path = Path("/proc")) -> bool:
    """Whether a program of that name runs; False where the system does not tell."""
    if platform.system() == "Linux":
        return any(_is_named(folder, name) for folder in proc.glob("[0-9]*"))
    words = ["tasklist", "/NH", "/FI", f"IMAGENAME eq {name}.exe"]
    if platform.system() != "Windows":
        words = ["pgrep", "-ix", name]
    try:
        asked = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and (
        platform.system() != "Windows" or f"{name}.exe" in asked.stdout.lower()
    )


def _is_named(folder: Path, name: str) -> bool:
    try:
        if (folder / "comm").read_text(encoding="utf-8").strip() != name:
            return False
        # A dead child that nobody has fetched yet is over, too.
        return ") Z " not in (folder / "stat").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
