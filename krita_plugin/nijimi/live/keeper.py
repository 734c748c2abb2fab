"""Results that come and go enter; the document's file holds them, and gives them back later.

PNGs are made and read on a thread of their own: a large one takes longer than a turn may. What is
kept is bounded; the oldest goes first.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..canvas.room import CanvasRoom, ChangeTakenBack
from ..model.packed_results import pack_result, unpack_result
from ..model.results import MOST_BYTES, Result, Results
from ..qt import QtCore, Signal

__all__ = ["MOST_KEPT", "MOST_KEPT_BYTES", "Keeper"]

MOST_KEPT = 24
MOST_KEPT_BYTES = 24 * 1024 * 1024
"""Of one document's file."""


class Keeper(QtCore.QObject):
    """Keeps each document's results in its file."""

    _packed = Signal(str, str, object)
    _unpacked = Signal(object)

    def __init__(self, room: CanvasRoom, results: Results, parent: Any = None) -> None:
        super().__init__(parent)
        self._room = room
        self._results = results
        self._documents: dict[str, Any] = {}
        self._kept: dict[str, dict[str, int]] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nijimi-pictures")
        results.added.connect(self._pack)
        results.removed.connect(self._forget)
        # From the worker's thread to this one, in turn.
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self._packed.connect(self._keep, queued)
        self._unpacked.connect(self._restore, queued)

    def set_document(self, document: Any | None) -> None:
        """Another document is in front: what its file holds is there again."""
        if document is None:
            return
        for closed in [n for n, each in self._documents.items() if not self._room.is_open(each)]:
            del self._documents[closed], self._kept[closed]
        identity = self._room.document_id(document)
        is_known = identity in self._documents
        self._documents[identity] = document
        if is_known:
            return
        kept = self._room.kept_pictures(document)
        self._kept[identity] = {name: len(data) for name, data in kept.items()}
        if kept:
            self._worker.submit(self._unpack, identity, kept)

    def end(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    # On the worker's thread ----------------------------------------------------------------

    def _pack_now(self, result: Result) -> None:
        self._packed.emit(result.picture.document_id, result.name, pack_result(result))

    def _unpack(self, document_id: str, kept: dict[str, bytes]) -> None:
        """The newest first, and no more of them than may be held: the file may be a stranger's."""
        unpacked_bytes = 0
        for name in sorted(kept, reverse=True)[:MOST_KEPT]:
            result = unpack_result(kept[name], self._results.new_id(), name, document_id)
            if result is not None:
                unpacked_bytes += result.size_bytes
                if unpacked_bytes > MOST_BYTES:
                    return
                self._unpacked.emit(result)

    # On Qt's -------------------------------------------------------------------------------

    def _pack(self, result: Result) -> None:
        if result.picture.document_id in self._documents:
            self._worker.submit(self._pack_now, result)

    def _keep(self, document_id: str, name: str, data: bytes) -> None:
        if len(data) > MOST_KEPT_BYTES or not self._results.has(document_id, name):
            # Too large for a file, or removed meanwhile.
            return
        if self._write(document_id, name, data):
            kept = self._kept[document_id]
            kept[name] = len(data)
            while len(kept) > MOST_KEPT or sum(kept.values()) > MOST_KEPT_BYTES:
                self._forget(document_id, min(kept))

    def _restore(self, result: Result) -> None:
        if not self._results.has(result.picture.document_id, result.name):
            self._results.restore(result)

    def _forget(self, document_id: str, name: str) -> None:
        if self._kept.get(document_id, {}).pop(name, None) is not None:
            self._write(document_id, name, b"")

    def _write(self, document_id: str, name: str, data: bytes) -> bool:
        document = self._documents.get(document_id)
        if document is None or not self._room.is_open(document):
            return False
        try:
            self._room.keep_picture(document, name, data)
        except ChangeTakenBack:
            # It is in the log; the picture is still here, only not in the file.
            return False
        return True
