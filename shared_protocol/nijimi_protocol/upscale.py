"""How much larger a picture is to become enters; a checked, frozen UpscaleParams leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import RejectedChange
from .geometry import Extent
from .limits import Limits

__all__ = ["MAX_FACTOR", "UpscaleParams"]

MAX_FACTOR = 4.0
"""What the usual networks reach; more is another run on the result."""


@dataclass(frozen=True, kw_only=True)
class UpscaleParams:
    """A larger picture of the canvas.

    ``factor`` in [1, 4]; 1 refines without enlarging. ``model``: the network that enlarges, by its
    file's name; "" is plain resampling. ``strength`` in [0, 1]: how far the checkpoint may repaint
    the enlarged picture, tile by tile; 0 leaves it as it is.
    """

    factor: float = 2.0
    model: str = ""
    strength: float = 0.3

    def extent(self, canvas: Extent) -> Extent:
        """The size of what comes out."""
        return Extent(*(max(1, round(side * self.factor)) for side in canvas))

    def checked(self, revision: int = 0) -> UpscaleParams:
        """Itself, or ``RejectedChange`` with what is wrong and what to do."""
        for name, value, low, high in (
            ("factor", self.factor, 1.0, MAX_FACTOR),
            ("strength", self.strength, 0.0, 1.0),
        ):
            if not math.isfinite(value) or not low <= value <= high:
                raise RejectedChange(
                    "params",
                    f"The {name} of the upscale is {value}; it must be from {low:g} to {high:g}.",
                    "Set it again.",
                    revision,
                )
        if len(self.model) > 256:
            raise RejectedChange("params", "The upscaler's name is too long.", "", revision)
        return self

    def check_extent(self, canvas: Extent, limits: Limits) -> None:
        """Refuse what would become larger than a picture may be."""
        width, height = self.extent(canvas)
        if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
            raise RejectedChange(
                "upscale_too_large",
                f"The picture would have {width} x {height} px; at most {limits.max_side_px} px "
                f"a side and {limits.max_pixels // 1_000_000} megapixels are made.",
                "Choose a smaller factor.",
            )
