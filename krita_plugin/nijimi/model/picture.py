"""A received frame enters; what of it outlives the session that brought it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from nijimi_protocol.geometry import Bounds, Extent

__all__ = ["Picture"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One whole picture and where it belongs. The backend may die; the picture stays.

    ``pixels``: BGRA8 of ``extent``. ``area``: where it lies in a document of ``canvas`` pixels.
    ``selection``: one byte a pixel of ``selected``, for a picture of a selection only; such a one
    is transparent beside it.
    """

    pixels: bytes
    extent: Extent
    area: Bounds
    canvas: Extent
    document_id: str
    revision: int
    is_final: bool
    selected: Bounds | None = None
    selection: bytes = b""

    @property
    def area_in_canvas(self) -> Bounds:
        return self.area.intersection(self.canvas.bounds)
