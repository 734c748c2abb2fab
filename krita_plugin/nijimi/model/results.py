"""Pictures of batches enter; those of the document in front leave, to be chosen from.

Signals:
    changed()         there are others now, or another document is in front
    added(object)     a new ``Result`` came
    removed(str, str) the painter does not want it any more: its document's id and its name
    chosen_changed()  another one is chosen, or none
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nijimi_protocol.params import RenderParams
from nijimi_protocol.picture_info import info_text

from ..qt import QtCore, Signal
from .picture import Picture

__all__ = ["MOST_BYTES", "MOST_RESULTS", "Digests", "Result", "Results"]

Digests = Callable[[RenderParams], "tuple[str, Mapping[str, str]]"]
"""The hash of the checkpoint's file, and those of LoRAs by their names; what is known of them."""

MOST_RESULTS = 48
"""Of one document; the oldest goes first."""

MOST_BYTES = 256 * 1024 * 1024
"""Of all documents together."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A picture with what it was made from. ``params`` has its own seed."""

    id: int
    name: str
    """Unlike any other of its document, and in the order of time."""
    picture: Picture
    params: RenderParams
    sampler: str

    @property
    def size_bytes(self) -> int:
        return len(self.picture.pixels) + len(self.picture.selection)

    def info(self, digests: Digests = lambda _params: ("", {})) -> str:
        """As the web UIs write it into a PNG, with the hashes that ``digests`` knows."""
        return info_text(
            self.params, self.sampler, *self.picture.extent, self.params.model,
            *digests(self.params),
        )  # fmt: skip


class Results(QtCore.QObject):
    """Every document's pictures, and which one is chosen."""

    changed = Signal()
    chosen_changed = Signal()
    added = Signal(object)
    removed = Signal(str, str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._all: list[Result] = []
        self._document_id = ""
        self._newest = 0
        self.chosen: Result | None = None

    @property
    def entries(self) -> tuple[Result, ...]:
        """Those of the document in front, the oldest first."""
        return tuple(each for each in self._all if each.picture.document_id == self._document_id)

    def set_document(self, document_id: str) -> None:
        if document_id != self._document_id:
            self._document_id = document_id
            self.choose(None)
            self.changed.emit()

    def new_id(self) -> int:
        self._newest += 1
        return self._newest

    def get(self, result_id: int | None) -> Result | None:
        return next((each for each in self._all if each.id == result_id), None)

    def has(self, document_id: str, name: str) -> bool:
        return any(
            each.name == name and each.picture.document_id == document_id for each in self._all
        )

    def add(self, result: Result) -> None:
        self._insert(result)
        self.added.emit(result)

    def restore(self, result: Result) -> None:
        """One that a document's file had kept."""
        self._insert(result)

    def _insert(self, result: Result) -> None:
        """In the order of time. Beyond the bounds the oldest goes, but not out of its file."""
        self._all.append(result)
        self._all.sort(key=lambda each: each.name)
        document_id = result.picture.document_id
        of_it = [each for each in self._all if each.picture.document_id == document_id]
        if len(of_it) > MOST_RESULTS:
            self._all.remove(of_it[0])
        while sum(each.size_bytes for each in self._all) > MOST_BYTES and len(self._all) > 1:
            self._all.pop(0)
        self._tell()

    def remove(self, result_id: int) -> None:
        """The painter does not want it, here or in the file."""
        self._drop([each for each in self._all if each.id == result_id])

    def clear(self) -> None:
        """Nor any other of the document in front."""
        self._drop(list(self.entries))

    def _drop(self, unwanted: list[Result]) -> None:
        self._all = [each for each in self._all if each not in unwanted]
        for each in unwanted:
            self.removed.emit(each.picture.document_id, each.name)
        self._tell()

    def choose(self, result_id: int | None) -> None:
        chosen = self.get(result_id)
        if chosen != self.chosen:
            self.chosen = chosen
            self.chosen_changed.emit()

    def _tell(self) -> None:
        if self.chosen is not None and self.chosen not in self._all:
            self.choose(None)
        self.changed.emit()
