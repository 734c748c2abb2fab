"""A file's path enters; what it was read as leaves, read once while the file is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import ModelMissing, NijimiError
from .cache import StageCache

__all__ = ["FileShelf"]

Read = TypeVar("Read")


class FileShelf(Generic[Read]):
    """The ``size`` files that were used last, by path and date. Not thread-safe.

    Why one cannot be read is kept, too: a file is not read in vain at every frame.
    """

    def __init__(self, size: int, read: Callable[[Path], Read]) -> None:
        self._read = read
        self._files: StageCache[Read | NijimiError] = StageCache(size)

    def get(self, path: Path, title: str) -> Read:
        """Raises what reading it raises, and ``ModelMissing`` naming ``title`` where it is gone."""
        try:
            date = path.stat().st_mtime_ns
        except OSError as error:
            raise ModelMissing(f"{title} is gone ({error.strerror}).") from error
        found = self._files.get((path, date), lambda: self._try(path))
        if isinstance(found, NijimiError):
            raise found
        return found

    def _try(self, path: Path) -> Read | NijimiError:
        try:
            return self._read(path)
        except NijimiError as error:
            return error
