"""A network's word on each place of a picture enters; the picture in colours of kinds leaves."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..request import Pixels

__all__ = ["KINDS", "colours", "in_colours", "kinds_at"]

KINDS = 150
"""Of ADE20K's scene parsing benchmark (Zhou et al., CVPR 2017)."""

_TABLE = Path(__file__).with_name("ade20k.json")


@functools.cache
def colours() -> npt.NDArray[np.uint8]:
    """RGB of each kind, 150 x 3: what ControlNet for segmentation was trained on."""
    kinds: list[tuple[str, str]] = json.loads(_TABLE.read_text("utf-8"))["kinds"]
    return np.array([list(bytes.fromhex(colour[1:])) for _, colour in kinds], np.uint8)


def kinds_at(scores: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The kind with the highest of 150 x h x w scores at each pixel, height x width.

    Scores are enlarged before they are compared, one kind after another: borders become smooth, and
    150 pictures are never held at once.
    """
    best = np.full((height, width), -np.inf, np.float32)
    found = np.zeros((height, width), np.uint8)
    for kind, plane in enumerate(scores):
        large = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        is_better = large > best
        best[is_better], found[is_better] = large[is_better], kind
    return found


def in_colours(kinds: npt.NDArray[np.uint8]) -> Pixels:
    """H x W kinds as an RGB picture."""
    return colours()[kinds]
