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
from collections.abc import Callable
from pathlib import Path

from .errors import CommandFailed
from .paths import venv_python
from .progress import say, stage
from .torch_build import has_nvidia_gpu, install_torch, is_built_for_cuda

__all__ = ["ensure_environment", "stamp_of"]

_STAMP = "nijimi-stamp.txt"


def stamp_of(root: Path, extras: tuple[str, ...], torch_index: str = "") -> str:
    """What the environment must have been made from to be the right one."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    digest.update(f"{sys.version_info[:3]} {','.join(sorted(extras))} {root}".encode())
    digest.update(torch_index.encode())
    return digest.hexdigest()


def ensure_environment(
    root: Path,
    *,
    extras: tuple[str, ...] = (),
    torch_index: str = "",
    venv: Path | None = None,
    with_gpu: bool | None = None,
    tells_bytes: bool = False,
) -> Path:
    """The interpreter of ``.venv``, made or brought up to date first.

    torch comes first and by its exact version, so that no looser requirement draws another
    build. ``torch_index`` names a package index whose build is to be taken; ``with_gpu`` None looks
    for one. ``tells_bytes``: pip's lines say how much of a file has come, for a program to read.
    """
    venv = venv or root / ".venv"
    python = Path(venv_python(venv, platform.system()))
    stamp_file = venv / _STAMP
    known = stamp_file.read_text().split() if stamp_file.exists() else []
    # An environment with more in it serves as well: the tests' one also runs the program.
    acceptable = {stamp_of(root, extras), stamp_of(root, tuple({*extras, "dev"}))}
    if torch_index:
        acceptable = {stamp_of(root, extras, torch_index)}
    if python.exists() and acceptable & set(known):
        say("==> Python packages are up to date")
        return python
    if not _is_usable(python):
        # Not there yet, cut off while it was made, or of another Python.
        shutil.rmtree(venv, ignore_errors=True)
        with stage("Making .venv"):
            _make_venv(venv)

    bar = _byte_lines(python, root) if tells_bytes else ()

    def pip(*words: str, quiet: bool = False) -> bool:
        return _pip_install(python, root, *bar, *words, quiet=quiet)

    has_gpu = has_nvidia_gpu() if with_gpu is None else with_gpu
    done = install_torch(pip, lambda: is_built_for_cuda(python), has_gpu=has_gpu, index=torch_index)
    if done:
        with stage("Installing the other packages"):
            done = pip("-e", f".[{','.join(extras)}]" if extras else ".")
            # Why without what it depends on: pyproject.toml, at the extra "upscale".
            done = done and pip("--no-deps", "spandrel")
        if done:
            _find_people(python, pip)
            if not has_gpu:
                _quicken(pip)
    if not done:
        raise CommandFailed(
            "pip could not install the packages.",
            "See its message above; check the network and the free disk, then run this again.",
        )
    # With an index of its own it serves whoever names none, too.
    stamps = {stamp_of(root, extras), stamp_of(root, extras, torch_index)}
    stamp_file.write_text("\n".join(sorted(stamps)) + "\n")
    return python


def _is_usable(python: Path) -> bool:
    """Whether it runs, has pip and is of the Python that runs us."""
    if not python.exists():
        return False
    asked = subprocess.run(
        [str(python), "-c", "import pip, sys; print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode == 0 and asked.stdout.split() == [str(n) for n in sys.version_info[:2]]


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


def _find_people(python: Path, pip: Callable[..., bool]) -> None:
    """What poses and depth are seen in pictures with: 60 MB that everything else works without,
    and that are not published for every system."""
    with stage("Installing what sees people and depth in pictures"):
        fetch = [str(python), "-m", "nijimi_backend", "models", "fetch", "blazepose"]
        done = (
            pip("ai-edge-litert", "onnxruntime", quiet=True)
            and not subprocess.run(
                fetch, stdin=subprocess.DEVNULL, capture_output=True, check=False
            ).returncode
        )
        if not done:
            say("    not available here: poses cannot be read from pictures, all else works")


def _quicken(pip: Callable[..., bool]) -> None:
    """What runs small networks faster on a CPU: 60 MB that are not published for every system.
    Why without what it depends on: pyproject.toml, at the extra "openvino"."""
    with stage("Installing what makes a CPU quicker"):
        if not pip("--no-deps", "openvino", quiet=True):
            say("    not available here: pictures take as long as torch takes for them")


def _byte_lines(python: Path, root: Path) -> tuple[str, ...]:
    """What makes pip tell bytes in lines: releases from 24.1 know it, and venv may bring an older
    one. Without it the installation is the same, only told less finely."""
    with stage("Updating pip"):
        is_new = _pip_install(python, root, "--upgrade", "pip>=24.1", quiet=True)
    return ("--progress-bar", "raw") if is_new else ()


def _pip_install(python: Path, root: Path, *words: str, quiet: bool) -> bool:
    """pip with its own progress shown; a line a package where there is no terminal."""
    command = [str(python), "-m", "pip", "install", "-c", "constraints.txt", *words]
    done = subprocess.run(
        [*command, "--disable-pip-version-check"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else None,
        check=False,
    )
    return done.returncode == 0
