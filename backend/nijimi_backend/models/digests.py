"""Files whose hash is wanted enter; hashes leave, some time later, and are kept between runs.

Hashing a checkpoint takes seconds: it is done in a thread of its own, for files that pictures were
made with and no others, and never twice for one version of a file.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from .headers import file_sha256, weights_sha256
from .library import LibraryFile
from .recognise import FileKind

__all__ = ["Digests"]

log = logging.getLogger(__name__)

_MOST_KEPT = 2000
_DIGITS = {FileKind.CHECKPOINT: 10, FileKind.LORA: 12}
"""As many as the web UIs write."""

_HASHES: dict[FileKind, Callable[[Path], str]] = {
    FileKind.CHECKPOINT: file_sha256,
    FileKind.LORA: weights_sha256,
}


class Digests:
    """What is known, kept in ``path`` (None: for this run only). Safe to use from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        # By path: the version of the file that was hashed, and what came of it.
        self._known: dict[str, tuple[str, str]] = self._read()
        self._waiting: deque[LibraryFile] = deque()
        self._thread: threading.Thread | None = None

    def known(self, file: LibraryFile) -> str:
        """Its first digits as the web UIs write them; "" where nobody asked for it yet."""
        with self._lock:
            version, digest = self._known.get(str(file.path), ("", ""))
        # Only files that were hashed are looked at: the list of all is asked for again and again.
        return digest if digest and version == _version(file.path) else ""

    def want(self, file: LibraryFile) -> None:
        """Find it out, some time; nothing for kinds that have no hash in a picture's text."""
        version = _version(file.path)
        if file.found.kind not in _HASHES or not version:
            return
        with self._lock:
            known = self._known.get(str(file.path), ("", ""))[0] == version
            if known or any(file.path == each.path for each in self._waiting):
                return
            self._waiting.append(file)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="digests", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until nothing is wanted any more."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                file = self._waiting[0]
            found, version = "", _version(file.path)
            try:
                found = _HASHES[file.found.kind](file.path)[: _DIGITS[file.found.kind]]
            except OSError as error:
                log.warning("%s cannot be hashed (%s)", file.path.name, error.strerror)
            with self._lock:
                self._waiting.popleft()
                self._known[str(file.path)] = version, found
                while len(self._known) > _MOST_KEPT:
                    self._known.pop(next(iter(self._known)))
                kept = {path: each for path, each in self._known.items() if each[1]}
            self._write(kept)

    def _read(self) -> dict[str, tuple[str, str]]:
        if self._path is None:
            return {}
        try:
            value: object = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(value, dict):
            return {}
        return {
            path: (str(pair[0]), str(pair[1]))
            for path, pair in cast("dict[str, Any]", value).items()
            if isinstance(pair, list) and len(cast("list[object]", pair)) == 2
        }

    def _write(self, known: dict[str, tuple[str, str]]) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}.tmp")
            beside.write_text(json.dumps(known), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            log.warning("hashes cannot be kept (%s)", error.strerror)


def _version(path: Path) -> str:
    """Another one whenever the file was written; "" where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_mtime_ns}-{stat.st_size}"
