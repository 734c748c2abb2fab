"""The program's source enters; a backend in a folder of its own leaves, for a plugin to start.

This is what the plugin's guide runs, with a Python that it found: the source travels inside the
plugin, or is a checkout. Whatever stopped it, running it again goes on with what is there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .environment import ensure_environment
from .errors import CommandFailed, DiskFull
from .progress import say, stage
from .torch_build import has_nvidia_gpu

__all__ = ["SOURCE_PARTS", "copy_source", "install_backend", "needed_bytes"]

SOURCE_PARTS = (
    "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
    "backend", "shared_protocol", "installer",
)  # fmt: skip
"""What a backend is installed from; the plugin's archive carries the same."""

_GIB = 1024**3
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.pyc")


def install_backend(
    source: Path, home: Path, *, device: str = "auto", torch_index: str = ""
) -> Path:
    """The interpreter of the environment in ``home``, made or brought up to date.

    Raises ``DiskFull`` before anything is begun, and ``CommandFailed``.
    """
    home.mkdir(parents=True, exist_ok=True)
    with_gpu = device != "cpu" and has_nvidia_gpu()
    venv = home / ".venv"
    needed = needed_bytes(with_gpu=with_gpu) if not venv.exists() else _GIB
    if (free := shutil.disk_usage(home).free) < needed:
        raise DiskFull(
            f"{home} has {free / _GIB:.1f} GiB free; the backend needs {needed / _GIB:.0f}.",
            "Make room, or choose a folder on another disk.",
        )
    with stage("Copying Nijimi"):
        copied = copy_source(source, home / "source")
    python = ensure_environment(
        copied, venv=venv, with_gpu=with_gpu, torch_index=torch_index, tells_bytes=True
    )
    say(f"==> Backend: {python}")
    return python


def needed_bytes(*, with_gpu: bool) -> int:
    """What the packages take on disk while they are unpacked, rounded up."""
    return (14 if with_gpu else 4) * _GIB


def copy_source(source: Path, target: Path) -> Path:
    """A copy of its own: the plugin's folder may be replaced or read-only. Whole or not at all."""
    missing = [part for part in SOURCE_PARTS if not (source / part).exists()]
    if missing:
        raise CommandFailed(
            f"The source in {source} is not whole: {missing[0]} is missing.",
            "Download Nijimi again.",
        )
    beside, before = target.with_name(".source-new"), target.with_name(".source-old")
    for leftover in (beside, before):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    for part in SOURCE_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, beside / part, ignore=_NOT_COPIED)
        else:
            shutil.copy2(source / part, beside / part)
    if target.exists():
        os.replace(target, before)
    os.replace(beside, target)
    shutil.rmtree(before, ignore_errors=True)
    return target
