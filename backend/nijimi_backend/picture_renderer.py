"""Parameters, a picture and a mask enter, as of files; the finished picture leaves, likewise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from PIL import Image

from .engine.engine import Engine
from .engine.request import Control, FrameRequest, Picture, Pixels
from .picture_files import PictureFile

__all__ = ["PictureRenderer"]


class PictureRenderer:
    """Renders one picture after another; ``last`` tells how the newest was made."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.last: Picture | None = None
        # Each picture is another one to the engine's caches, and so is each painted hint.
        self._version = 0

    def render(
        self,
        params: RenderParams,
        source: PictureFile | None = None,
        mask: Pixels | None = None,
        extent: Extent | None = None,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
        controls: tuple[Control, ...] = (),
    ) -> PictureFile:
        """A whole picture, RGB, of ``extent`` (default: the source's, or the model's own).

        With a mask (H x W, 255 = repaint) it is the source, of its own depth, with the new part
        laid over it. Raises what ``Engine.render`` raises.
        """
        self._version += 1
        canvas = source.canvas if source is not None else None
        if extent is None:
            side = self.engine.model.native_px
            extent = Extent(side, side) if canvas is None else Extent(*canvas.shape[1::-1])
        request = FrameRequest(
            params=params,
            extent=extent,
            canvas=_scaled(canvas, extent) if canvas is not None else None,
            canvas_version=self._version,
            mask=mask,
            mask_version=self._version,
            controls=tuple(
                each if each.pixels is None else replace(each, version=self._version)
                for each in controls
            ),
            exact=True,
        )
        made = self.engine.render(request, on_step=on_step)
        self.last = made
        if mask is not None and source is not None:
            return source.with_layer(made.pixels, made.area.x, made.area.y)
        rgb = np.ascontiguousarray(made.pixels[..., 2::-1])
        return PictureFile(values=_scaled(rgb, extent))


def _scaled(pixels: Pixels, extent: Extent) -> Pixels:
    image = Image.fromarray(pixels)
    if image.size != tuple(extent):
        image = image.resize((extent.width, extent.height), Image.Resampling.LANCZOS)
    return np.asarray(image)
