"""A control layer enters; the picture that its network was trained on leaves, as RGB.

Painters draw dark lines on paper, networks want white lines on black: what kind of hint a layer
becomes, and how one is made from a finished picture, is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.geometry import Bounds, Extent

from ...errors import BadInput
from ..request import Control, Pixels
from ..stages import resize_canvas
from .annotators import Annotators, normals_of
from .skeleton import draw_people

__all__ = ["KINDS", "LINE_KINDS", "cropped", "make_hint"]

LINE_KINDS = ("scribble", "lineart", "softedge", "canny", "mlsd")
"""Lines: white on black for the network."""

_GROUND = {"depth": (0, 0, 0), "seg": (0, 0, 0), "normal": (128, 128, 255)}
"""What lies below a painted hint where it is transparent: far away, nothing, facing us."""

KINDS = ("pose", *LINE_KINDS, "depth", "normal", "seg", "tile", "blur")


def make_hint(
    control: Control,
    canvas: Extent,
    crop: Bounds,
    extent: Extent,
    annotators: Annotators | None = None,
) -> Pixels:
    """The part ``crop`` of a canvas of that size, as RGB h x w x 3 of ``extent``.

    Raises ``BadInput`` where the kind is unknown or nothing can see it in a picture, and
    ``ModelMissing`` with where to put what could.
    """
    if control.kind == "pose" and not control.process:
        return draw_people(control.people, crop, extent)
    if control.kind not in KINDS:
        raise BadInput(
            f"Nijimi knows no control of the kind {control.kind!r}.",
            f"Choose one of: {', '.join(KINDS)}.",
        )
    if control.pixels is None:
        raise BadInput(
            f"The {control.kind} control has no layer.", "Choose its layer, or switch it off."
        )
    layer = _as_bgra(cropped(control.pixels, canvas, crop))
    if control.process:
        return _processed(control.kind, layer, extent, annotators or Annotators(None))
    if control.kind in LINE_KINDS:
        return _lines_of(layer, extent)
    ground = _GROUND.get(control.kind)
    return resize_canvas(layer if ground is None else _over(layer, ground), extent)


def cropped(pixels: Pixels, canvas: Extent, crop: Bounds) -> Pixels:
    """A layer's pixels under ``crop``; a layer of another size covers the whole canvas."""
    height, width = pixels.shape[:2]
    if (width, height) != tuple(canvas):
        resized = cv2.resize(pixels, tuple(canvas), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(resized, dtype=np.uint8)
    return np.ascontiguousarray(pixels[crop.y : crop.bottom, crop.x : crop.right])


def _as_bgra(part: Pixels) -> Pixels:
    """Grey becomes opaque."""
    if part.ndim == 2:
        part = np.repeat(part[..., None], 4, axis=2)
        part[..., 3] = 255
    return part


def _over(layer: Pixels, ground: tuple[int, int, int]) -> Pixels:
    """BGRA over an RGB colour, opaque."""
    alpha = layer[..., 3:].astype(np.float32) / 255.0
    below = np.array(ground[::-1], dtype=np.float32)
    mixed = layer[..., :3] * alpha + below * (1.0 - alpha)
    opaque = np.full_like(layer, 255)
    opaque[..., :3] = mixed.round().astype(np.uint8)
    return opaque


def _lines_of(layer: Pixels, extent: Extent) -> Pixels:
    """Drawn lines as white on black: paper is whatever most of the layer is."""
    grey = cv2.cvtColor(resize_canvas(layer, extent), cv2.COLOR_RGB2GRAY)
    if np.median(grey) > 127:
        grey = 255 - grey
    return _rgb(grey)


def _processed(kind: str, layer: Pixels, extent: Extent, annotators: Annotators) -> Pixels:
    """The hint made from a picture."""
    if kind == "pose":
        height, width = layer.shape[:2]
        return draw_people(annotators.people(layer), Bounds(0, 0, width, height), extent)
    rgb = resize_canvas(layer, extent)
    if kind in ("depth", "normal"):
        depth = annotators.depth(rgb)
        return _rgb(depth) if kind == "depth" else normals_of(depth)
    if kind == "seg":
        return annotators.segments(rgb)
    make = _FROM_PICTURE.get(kind)
    return make(rgb) if make is not None else rgb


def _canny(rgb: Pixels) -> Pixels:
    """Canny's edges at 100 and 200, the thresholds of ControlNet's own examples."""
    return _rgb(cv2.Canny(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 100, 200))


def _drawn(rgb: Pixels) -> Pixels:
    """Lines as a pen would draw them: extended differences of Gaussians (Winnemöller, 2011)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    sigma = 0.8 * max(1.0, min(grey.shape) / 256)
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma))
    wide = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma))
    soft = 1.0 + np.tanh(60.0 * np.minimum(0.0, fine - 0.98 * wide - 0.005))
    return _rgb(((1.0 - soft) * 255).clip(0, 255).astype(np.uint8))


def _scribbled(rgb: Pixels) -> Pixels:
    """As ``_drawn``, but thick and either black or white: a hand's rough line."""
    strong = (_drawn(rgb)[..., 0] > 96).astype(np.uint8) * 255
    # Odd, so that lines grow to both sides alike.
    width = 2 * max(1, round(min(strong.shape) / 256)) + 1
    return _rgb(np.asarray(cv2.dilate(strong, np.ones((width, width), np.uint8))))


def _soft_edges(rgb: Pixels) -> Pixels:
    """The strength of colour changes after smoothing that keeps edges."""
    smooth = np.asarray(cv2.bilateralFilter(rgb, 7, 40, 7)).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down).max(axis=2)
    top = max(float(np.percentile(strength, 99.5)), 60.0)
    return _rgb((255 * np.sqrt(strength / top)).clip(0, 255).astype(np.uint8))


def _straight_lines(rgb: Pixels) -> Pixels:
    """Line segments (von Gioi et al., LSD, 2010), white on black."""
    found: Any = cv2.createLineSegmentDetector().detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[0]
    hint = np.zeros_like(rgb)
    shortest = min(rgb.shape[:2]) / 20
    for line in found if found is not None else ():
        x1, y1, x2, y2 = (float(value) for value in np.ravel(line))
        if np.hypot(x2 - x1, y2 - y1) >= shortest:
            cv2.line(hint, (int(x1), int(y1)), (int(x2), int(y2)), (255, 255, 255), 1)
    return hint


def _blurred(rgb: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), min(rgb.shape[:2]) / 64), dtype=np.uint8)


def _rgb(grey: npt.NDArray[Any]) -> Pixels:
    return np.repeat(np.asarray(grey, dtype=np.uint8)[..., None], 3, axis=2)


_FROM_PICTURE: dict[str, Callable[[Pixels], Pixels]] = {
    "canny": _canny,
    "lineart": _drawn,
    "scribble": _scribbled,
    "softedge": _soft_edges,
    "mlsd": _straight_lines,
    "blur": _blurred,
}
"""Kinds that are not here (tile) take the picture as it is."""
