"""The checkout enters; its virtual environment with the pinned packages leaves.

A stamp inside it holds a hash of everything that decides its contents: a second run sees at once
that nothing is to be done.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import CommandFailed
from .paths import venv_python
from .progress import say, stage

__all__ = ["ensure_environment", "stamp_of"]

_STAMP = "nijimi-stamp.txt"


def stamp_of(root: Path, extras: tuple[str, ...]) -> str:
    """What the environment must have been made from to be the right one."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    digest.update(f"{sys.version_info[:3]} {','.join(sorted(extras))} {root}".encode())
    return digest.hexdigest()


def ensure_environment(
    root: Path, *, extras: tuple[str, ...] = (), torch_index: str = "", gpu: bool | None = None
) -> Path:
    """The interpreter of ``.venv``, made or brought up to date first.

    torch comes first and by its exact version, so that no looser requirement draws another
    build. ``torch_index`` names a package index with the build that suits the machine.
    """
    venv = root / ".venv"
    python = Path(venv_python(venv, platform.system()))
    stamp_file = venv / _STAMP
    known = stamp_file.read_text().split() if stamp_file.exists() else []
    # An environment with more in it serves as well: the tests' one also runs the program.
    acceptable = {stamp_of(root, extras), stamp_of(root, tuple({*extras, "dev"}))}
    if python.exists() and acceptable & set(known):
        say("==> Python packages are up to date")
        return python
    if not _has_pip(python):
        # Not there yet, or cut off while it was made.
        shutil.rmtree(venv, ignore_errors=True)
        with stage("Making .venv"):
            _make_venv(venv)
    has_gpu = shutil.which("nvidia-smi") is not None if gpu is None else gpu
    with stage(f"Installing torch ({'CUDA' if has_gpu else 'CPU'} machine)"):
        index = ["--extra-index-url", torch_index] if torch_index else []
        _pip(python, "install", *index, "-c", str(root / "constraints.txt"), "torch==2.13.0")
    with stage("Installing the other packages"):
        target = f".[{','.join(extras)}]" if extras else "."
        _pip(python, "install", "-c", str(root / "constraints.txt"), "-e", target, cwd=root)
    stamp_file.write_text(stamp_of(root, extras) + "\n")
    return python


def _has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    asked = subprocess.run(
        [str(python), "-m", "pip", "--version"], capture_output=True, check=False
    )
    return asked.returncode == 0


def _make_venv(venv: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return
    shutil.rmtree(venv, ignore_errors=True)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if Path("/usr/bin/apt-get").exists() and hasattr(os, "geteuid") and os.geteuid() == 0:
        for words in (["update", "-q"], ["install", "-y", "-q", f"python{version}-venv"]):
            subprocess.run(["apt-get", *words], capture_output=True, check=False)
        again = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False)
        if again.returncode == 0:
            return
    raise CommandFailed(
        "Python cannot make a virtual environment.",
        f"On Debian and Ubuntu run: sudo apt-get install python{version}-venv",
    )


def _pip(python: Path, *words: str, cwd: Path | None = None) -> None:
    """pip with its own progress shown where there is a terminal."""
    quiet = [] if sys.stdout.isatty() else ["-q"]
    command = [str(python), "-m", "pip", *words, *quiet, "--disable-pip-version-check"]
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise CommandFailed(
            "pip could not install the packages.",
            "See its message above; check the network and the free disk, then run this again.",
        )
