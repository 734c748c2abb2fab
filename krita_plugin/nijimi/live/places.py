"""Revisions enter; where a picture of one belongs in its document leaves."""

from __future__ import annotations

from typing import NamedTuple

from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderMode

from ..canvas.room import SelectionMask
from ..model.history import History
from ..model.picture import Picture
from .sender import CanvasSender

__all__ = ["Place", "Places"]


class Place(NamedTuple):
    """The document's size, and what was selected where only that is repainted."""

    document_id: str
    canvas: Extent
    selection: SelectionMask | None

    def picture(
        self, pixels: bytes, extent: Extent, area: Bounds, revision: int, *, is_final: bool
    ) -> Picture:
        """BGRA8 ``pixels`` of ``extent`` that cover ``area`` of it."""
        selection = self.selection
        return Picture(
            pixels=pixels,
            extent=extent,
            area=area,
            canvas=self.canvas,
            document_id=self.document_id,
            revision=revision,
            is_final=is_final,
            selected=selection.bounds if selection is not None else None,
            selection=selection.pixels if selection is not None else b"",
        )


class Places:
    """Remembers which mode was asked for from which revision on."""

    def __init__(self, sender: CanvasSender) -> None:
        self._sender = sender
        self._modes: History[RenderMode] = History(RenderMode.IMG2IMG)

    def note(self, revision: int, mode: RenderMode) -> None:
        self._modes.note(revision, mode)

    def at(self, revision: int, document_id: str, mode: RenderMode | None = None) -> Place | None:
        """None where that state had no canvas, or nothing selected in a mode that asks for it."""
        canvas = self._sender.extent_at(revision)
        if canvas is None:
            return None
        if (mode or self._modes.at(revision)) is not RenderMode.INPAINT:
            return Place(document_id, canvas, None)
        selection = self._sender.selection_at(revision)
        return Place(document_id, canvas, selection) if selection is not None else None
