"""The environment enters; lint, types and tests run, and one status for all of them leaves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .progress import say
from .supply_chain import audit, write_bill

__all__ = ["run_tests"]


def run_tests(python: Path, root: Path, pytest_words: Sequence[str] = ()) -> int:
    """Every check runs, even after a failed one; pytest comes last, so that its line does too."""
    checks: list[tuple[str, list[str]]] = [
        ("ruff check", ["-m", "ruff", "check", "."]),
        ("ruff format", ["-m", "ruff", "format", "--check", "."]),
        ("pyright", ["-m", "pyright"]),
        ("pytest", ["-m", "pytest", *pytest_words]),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # The tests choose their own: a real screen must not be painted on.
    environment.pop("DISPLAY", None)
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', '')}"
    failed: list[str] = []
    for title, check in (
        ("bill of materials", lambda: write_bill(python, root)),
        ("audit", lambda: audit(python)),
    ):
        say(f"==> {title}")
        if not check():
            failed.append(title)
    for title, words in checks:
        say(f"==> {title}")
        started = time.monotonic()
        done = subprocess.run(
            [str(python), *words],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        say(f"    {title}: {'ok' if done.returncode == 0 else 'FAILED'} "
            f"in {time.monotonic() - started:.0f} s")  # fmt: skip
        if done.returncode:
            failed.append(title)
    if failed:
        say(f"Failed: {', '.join(failed)}")
        return 1
    say("All checks passed.")
    return 0
