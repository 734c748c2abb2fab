"""A rendered region enters; the pixels of a layer leave that change nothing but the selection.

The layer is transparent wherever the selection is 0. What lies outside is therefore not repainted
alike, but not touched at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.inpaint import InpaintParams

from ..request import Pixels
from .fill import spread
from .regions import Region

__all__ = ["compose", "join_layers"]

Field = npt.NDArray[np.float32]

_RING_PART = 0.08
"""Width of the ring around the selection that colours are matched to, of the longer side."""

_EDGE_PART = 0.012
"""The same where the shift varies along the edge: only what lies at it counts."""

_CAST_LEVELS, _CONTENT_LEVELS = 32.0, 64.0
"""Of 255: what differs by less is another light or tint, by more another thing. A red balloon that
crosses the selection's edge says nothing of the light, and would turn all of the picture green."""

_SCATTER = 0.15
"""Of ratios' logarithms along the edge: so much spread halves what is believed of their mean."""

_FADE_PART = 0.05
"""Of the longer side: so far in, a third is left of what differs along the edge."""

_DARK = 0.01
"""Of 1, in linear light: nearly black pixels have no ratio worth the name."""

_VALUES = np.arange(256) / 255.0
_LOG_LIGHT: Field = np.log(
    np.where(_VALUES <= 10 / 255.0, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4) + _DARK
).astype(np.float32)
"""sRGB to the logarithm of linear light (IEC 61966-2-1)."""


def compose(region: Region, before: Pixels, made: Pixels, params: InpaintParams) -> Pixels:
    """Straight-alpha BGRA of the crop, h x w x 4.

    ``before``: RGB of the crop at the model's resolution, as the model saw it before any fill.
    ``made``: RGB that the model made, at the same resolution.
    """
    size = (made.shape[1], made.shape[0])
    if params.match_colours or params.poisson:
        selection = np.asarray(
            cv2.resize(region.selection, size, interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
        made = _matched(before, made, selection, varying=params.poisson)
    layer = np.asarray(cv2.cvtColor(made, cv2.COLOR_RGB2BGRA), dtype=np.uint8)
    crop = (region.crop.width, region.crop.height)
    if size != crop:
        layer = np.asarray(cv2.resize(layer, crop, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    cv2.insertChannel(region.alpha, layer, 3)
    return layer


def join_layers(crops: Sequence[Bounds], layers: Sequence[Pixels]) -> tuple[Bounds, Pixels]:
    """One layer around all of them, transparent between; crops never overlap."""
    area = reduce(Bounds.union, crops)
    if len(layers) == 1:
        return area, layers[0]
    joined = np.zeros((area.height, area.width, 4), dtype=np.uint8)
    for crop, layer in zip(crops, layers, strict=True):
        y, x = crop.y - area.y, crop.x - area.x
        joined[y : y + crop.height, x : x + crop.width] = layer
    return area, joined


def _matched(before: Pixels, made: Pixels, selection: Pixels, *, varying: bool) -> Pixels:
    """Shift colours and light so that new and old agree around the selection.

    Just outside its edge both are known, because the model repaints a little further than is
    shown. They are compared in linear light, as ratios: what is dark stays so, where a difference
    taken from the light would leave it black. Where something else was painted at the edge,
    nothing is compared.

    What most of the edge agrees about is the model's cast, and is taken from all that was painted.
    ``varying``: the rest is spread along the edge smoothly, as the membrane of Poisson blending
    spreads differences, but fades inwards: at the edge it hides the seam, and further in it would
    dye a white thing with the grass that it stands in.
    """
    part = _EDGE_PART if varying else _RING_PART
    width = max(2, round(part * max(selection.shape)))
    near = cv2.dilate(selection, np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8))
    around = ((selection == 0) & (np.asarray(near) > 0)).astype(np.float32)
    apart = cv2.absdiff(before, made).max(axis=2).astype(np.float32)
    ring = around * ((_CONTENT_LEVELS - apart) / (_CONTENT_LEVELS - _CAST_LEVELS)).clip(0.0, 1.0)
    total = float(ring.sum())
    if total < 16:
        return made
    light = _LOG_LIGHT[made]
    ratio = _LOG_LIGHT[before] - light  # h x w x 3, logarithms
    weight = ring[..., None] / total
    mean = (ratio * weight).sum(axis=(0, 1))
    variance = (np.square(ratio - mean) * weight).sum(axis=(0, 1))
    trust = 1.0 / (1.0 + variance / _SCATTER**2)
    shift = np.asarray(mean * trust, dtype=np.float32)
    if varying:
        depth = cv2.distanceTransform((selection > 0).astype(np.uint8), cv2.DIST_L2, 5)
        fading = np.exp(-np.asarray(depth) / (_FADE_PART * max(selection.shape)))[..., None]
        shift = shift + spread(ratio - shift, ring) * fading
    return _from_linear(np.asarray(cv2.exp(light + shift), dtype=np.float32) - _DARK)


def _from_linear(light: Field) -> Pixels:
    """Linear light to sRGB, by a table of 4,096 steps."""
    steps = (light * 4095.0).round().clip(0, 4095).astype(np.uint16)
    return _SRGB[steps]


_STEPS = np.arange(4096) / 4095.0
_SRGB: Pixels = (
    (np.where(_STEPS <= 0.0031308, _STEPS * 12.92, 1.055 * _STEPS ** (1 / 2.4) - 0.055) * 255.0)
    .round()
    .clip(0, 255)
    .astype(np.uint8)
)
