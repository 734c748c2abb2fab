"""How a selection is to be repainted enters; a checked, frozen InpaintParams leaves."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .errors import RejectedChange
from .geometry import Bounds

__all__ = ["MAX_REACH_PX", "InitialFill", "InpaintMode", "InpaintParams"]

MAX_REACH_PX = 512
"""Most that a selection is grown, blended or given context by."""


class InpaintMode(str, enum.Enum):
    """What the painter wants of the selection."""

    AUTO = "auto"
    """Expand where the selected canvas is empty, fill at full strength, otherwise refine."""
    FILL = "fill"
    """New content, whatever is there now."""
    REFINE = "refine"
    """What is there, changed as far as the strength says."""
    EXPAND = "expand"
    """New content where the canvas is transparent; what is opaque stays."""
    REMOVE = "remove"
    """Let what is selected vanish into its surroundings."""
    BACKGROUND = "background"
    """The subject is selected: repaint all but it."""
    CUSTOM = "custom"
    """Exactly as the other values say."""


class InitialFill(str, enum.Enum):
    """What the selected part is filled with before noise is added."""

    NONE = "none"
    NEUTRAL = "neutral"
    BLUR = "blur"
    BORDER = "border"


@dataclass(frozen=True, kw_only=True)
class InpaintParams:
    """One state of the selection's settings. Lengths are canvas pixels.

    ``grow_px``: how far the model repaints beyond the selection, so that its edge is of one piece;
    none of that is ever shown. ``feather_px``: over how much inside the edge the content itself
    changes gradually, as in a soft selection. ``blend_px``: over how much inside the edge new and
    old are mixed.
    ``context_px``: what the model sees around the selection; 0 chooses by rule.
    ``context``: what it sees at least, in canvas pixels, instead of that; None leaves it so.
    ``match_colours``: shift colours and light by what the model changed around the selection.
    ``poisson``: let that shift vary along the edge (Perez et al., Poisson Image Editing, 2003).
    """

    mode: InpaintMode = InpaintMode.AUTO
    initial_fill: InitialFill = InitialFill.NONE
    grow_px: int = 8
    feather_px: int = 0
    blend_px: int = 8
    context_px: int = 0
    context: Bounds | None = None
    match_colours: bool = True
    poisson: bool = True

    def checked(self, revision: int = 0) -> InpaintParams:
        """Itself, or ``RejectedChange`` with what is wrong and what to do."""
        for name in ("grow_px", "feather_px", "blend_px", "context_px"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_REACH_PX:
                raise RejectedChange(
                    "params",
                    f"The selection's {name.removesuffix('_px')} is {value} px; it must be from 0 "
                    f"to {MAX_REACH_PX}.",
                    "Set it again; the last good value stays in use.",
                    revision,
                )
        if self.context is not None and self.context.is_empty:
            raise RejectedChange(
                "params",
                "The context is empty.",
                "Choose a layer that holds something, or let it be chosen by rule.",
                revision,
            )
        return self
