"""A .safetensors file enters; what its table of contents says leaves. No torch, no numbers.

Nothing here unpickles anything: a file of another format is named and refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import ModelCorrupt

__all__ = [
    "COPY_AGAIN",
    "WeightsHeader",
    "file_sha256",
    "first_line",
    "read_header",
    "weights_sha256",
]

COPY_AGAIN = "Copy or download it again, whole."


@dataclass(frozen=True, kw_only=True)
class WeightsHeader:
    """Names and shapes of all tensors of a file, and the words that its maker put into it."""

    path: Path
    size_bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def has(self, *keys: str) -> bool:
        return all(key in self.shapes for key in keys)

    def with_prefix(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors below a prefix, without it."""
        cut = len(prefix)
        return {key[cut:]: s for key, s in self.shapes.items() if key.startswith(prefix)}


def read_header(path: Path) -> WeightsHeader:
    """Raises ``ModelCorrupt`` with what the file is instead, as far as that can be seen."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
        _check_start(path, start, size)
        with safe_open(path, framework="np") as weights:
            # safetensors types its file handle too narrowly.
            handle: object = weights
            keys: list[str] = list(handle.keys())  # pyright: ignore
            slices = {key: weights.get_slice(key) for key in keys}
            shapes = {key: tuple(int(n) for n in s.get_shape()) for key, s in slices.items()}
            dtypes = {key: str(s.get_dtype()) for key, s in slices.items()}
            metadata = {str(k): str(v) for k, v in (weights.metadata() or {}).items()}
    except (SafetensorError, ValueError) as error:
        raise ModelCorrupt(
            f"{path.name} is damaged: its table of contents cannot be read ({first_line(error)}).",
            COPY_AGAIN,
        ) from error
    except OSError as error:
        raise ModelCorrupt(
            f"{path.name} cannot be read ({error.strerror or error}).", "Check the file's rights."
        ) from error
    return WeightsHeader(
        path=path, size_bytes=size, shapes=shapes, dtypes=dtypes, metadata=metadata
    )


def _check_start(path: Path, start: bytes, size: int) -> None:
    """Say what is no .safetensors file, before anything of it is believed."""
    if size == 0:
        raise ModelCorrupt(f"{path.name} is empty.", COPY_AGAIN)
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise ModelCorrupt(
            f"{path.name} is a pickle, which can hold programs, so it is not opened.",
            "Convert it without running it: nijimi models convert FILE.",
        )
    if start.startswith(b"version https://git-lfs"):
        raise ModelCorrupt(
            f"{path.name} is only a pointer to the real file (Git LFS).",
            "Download the file itself.",
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelCorrupt(
            f"{path.name} is a web page, not a model: the download went wrong.",
            "Download it again; the site may ask you to sign in first.",
        )
    claimed = int.from_bytes(start[:8], "little")
    if size < 10 or claimed > size - 8:
        raise ModelCorrupt(
            f"{path.name} is cut off or no .safetensors file: its table of contents would have "
            f"{claimed:,} bytes, the whole file has {size:,}.",
            COPY_AGAIN,
        )


def file_sha256(path: Path, on_bytes: Callable[[int], None] = lambda _done: None) -> str:
    """The whole file's hash, in hex; ``on_bytes`` hears how much was read."""
    return _sha256_from(path, 0, on_bytes)


def weights_sha256(path: Path) -> str:
    """The hash of a .safetensors file without its table of contents, as the web UIs name LoRAs by:
    an edited title or trigger word changes nothing."""
    with path.open("rb") as file:
        claimed = int.from_bytes(file.read(8), "little")
    return _sha256_from(path, 8 + claimed, lambda _done: None)


def _sha256_from(path: Path, start: int, on_bytes: Callable[[int], None]) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(4 * 1024 * 1024):
            digest.update(block)
            done += len(block)
            on_bytes(done)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """What an exception says, short enough for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
