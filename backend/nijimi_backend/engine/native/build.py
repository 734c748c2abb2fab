"""The C files of this folder enter; a library of this very processor leaves, loaded.

Built by the C compiler of the machine, beside the first pictures of a large model, in a folder
that is removed at once: nothing is kept that another version or processor might find.
Its threads are torch's own, as two libraries' threads wait for each other at each change.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

__all__ = ["build", "compiler", "has_tiles"]

_FLAGS = ("-std=c17", "-O3", "-march=native", "-fopenmp", "-fPIC")
_BUILD_S = 60.0


def has_tiles() -> bool:
    """Whether this machine multiplies tiles of bfloat16, and runs what a Linux compiler makes."""
    if not sys.platform.startswith("linux"):
        return False
    has_amx: bool = torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    has_avx: bool = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return has_amx and has_avx


def compiler() -> str | None:
    """GCC from 11 on, or what goes by the system's name for it."""
    return shutil.which("gcc") or shutil.which("cc")


def build() -> ctypes.CDLL:
    """Raises RuntimeError where there is no compiler, or where it cannot."""
    if (command := compiler()) is None:
        raise RuntimeError("there is no C compiler, such as gcc")
    # The system lets a process have tiles once it has asked for them, which torch does.
    if not torch.cpu._init_amx():  # pyright: ignore[reportPrivateUsage]
        raise RuntimeError("the system keeps AMX to itself")
    sources = sorted(Path(__file__).parent.glob("*.c"))
    with tempfile.TemporaryDirectory(prefix="nijimi-native-") as folder:
        made = Path(folder) / "native.so"
        objects = [str(Path(folder) / f"{source.stem}.o") for source in sources]
        for source, target in zip(sources, objects, strict=True):
            _run([command, *_FLAGS, "-c", str(source), "-o", target])
        # Without -fopenmp, which would bring the system's library of threads.
        _run([command, "-shared", *objects, str(_threads()), "-o", str(made)])
        try:
            return ctypes.CDLL(str(made))
        except OSError as error:
            raise RuntimeError(f"what the compiler made cannot be loaded: {error}") from error


def _threads() -> Path:
    """The library of threads that torch brings along (libgomp), which is in this process."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    if not found:
        raise RuntimeError("torch's own library of threads is not where it was")
    return found[0]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_BUILD_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"the C compiler did not run: {error}") from error
    if done.returncode:
        raise RuntimeError(f"the C compiler failed:\n{done.stderr[-2000:]}")
