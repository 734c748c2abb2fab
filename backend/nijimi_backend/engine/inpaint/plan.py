"""Canvas, selection and the painter's wish enter; what is really to be done leaves.

The modes are presets: each is a selection, a strength and what the selected part begins as.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from nijimi_protocol.inpaint import InitialFill, InpaintMode
from nijimi_protocol.params import RenderParams

from ...errors import BadInput
from ..request import Pixels

__all__ = ["InpaintPlan", "make_plan"]

_FULL_STRENGTH = 0.95
"""From here on the old content counts for nothing, and AUTO means FILL."""

_REMOVE_STRENGTH = 0.7
"""Enough to make the stretched border look painted, too little to invent a new object."""


@dataclass(frozen=True, kw_only=True)
class InpaintPlan:
    """``selection`` is H x W, 0 to 255: where, and how strongly, something new is to be."""

    mode: InpaintMode
    selection: Pixels
    strength: float
    initial_fill: InitialFill


def make_plan(canvas: Pixels, selection: Pixels, params: RenderParams) -> InpaintPlan:
    """Resolve the mode. Raises ``BadInput`` where nothing would be repainted.

    ``canvas``: H x W x 4 BGRA, straight alpha. ``selection``: H x W, 255 repaints fully.
    """
    if cv2.countNonZero(selection) == 0:
        raise BadInput("Nothing is selected.", "Select what is to be repainted.")
    wish = params.inpaint
    mode = wish.mode
    if mode is InpaintMode.AUTO:
        mode = _choose(canvas, selection, params.strength)
    if mode is InpaintMode.FILL:
        return InpaintPlan(
            mode=mode, selection=selection, strength=1.0, initial_fill=InitialFill.NONE
        )
    if mode is InpaintMode.EXPAND:
        # Rounded down: what is opaque is never touched, not even by one part in 255.
        empty = 255 - canvas[..., 3].astype(np.uint16)
        room = (selection.astype(np.uint16) * empty // 255).astype(np.uint8)
        if not room.any():
            raise BadInput(
                "There is nothing to expand into: the selected canvas is opaque.",
                "Enlarge the canvas or erase something, or choose Fill.",
            )
        return InpaintPlan(mode=mode, selection=room, strength=1.0, initial_fill=InitialFill.BORDER)
    if mode is InpaintMode.REMOVE:
        return InpaintPlan(
            mode=mode,
            selection=selection,
            strength=_REMOVE_STRENGTH,
            initial_fill=InitialFill.BORDER,
        )
    if mode is InpaintMode.BACKGROUND:
        around = 255 - selection
        if not around.any():
            raise BadInput(
                "The whole canvas is selected as the subject: no background is left.",
                "Select the subject only.",
            )
        return InpaintPlan(mode=mode, selection=around, strength=1.0, initial_fill=InitialFill.NONE)
    fill = wish.initial_fill if mode is InpaintMode.CUSTOM else InitialFill.NONE
    return InpaintPlan(mode=mode, selection=selection, strength=params.strength, initial_fill=fill)


def _choose(canvas: Pixels, selection: Pixels, strength: float) -> InpaintMode:
    # Every fourth pixel of every fourth row says as much; a selection that it misses is opaque.
    selected = selection[::4, ::4] > 0
    if selected.any() and canvas[::4, ::4, 3][selected].mean() < 128:
        return InpaintMode.EXPAND
    return InpaintMode.FILL if strength >= _FULL_STRENGTH else InpaintMode.REFINE
