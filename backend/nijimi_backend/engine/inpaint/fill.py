"""Known pixels enter; values for the unknown ones leave, spread from their border."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.inpaint import InitialFill

from ..request import Pixels

__all__ = ["fill_selection", "spread"]

Field = npt.NDArray[np.float32]

_BLUR_PART = 0.06
"""Standard deviation of the blurred fill, as a part of the picture's longer side."""


def fill_selection(rgb: Pixels, mask: Pixels, kind: InitialFill) -> Pixels:
    """``rgb`` h x w x 3 with what ``mask`` (h x w) covers replaced, softly where it is grey."""
    if kind is InitialFill.NONE:
        return rgb
    weight = (mask.astype(np.float32) / 255.0)[..., None]  # h x w x 1
    values = rgb.astype(np.float32)
    if kind is InitialFill.NEUTRAL:
        filling: Field = np.full_like(values, 127.5)
    else:
        # A grey mask's pixels are known only as far as they are not to be repainted.
        filling = spread(values, 1.0 - weight[..., 0])
        if kind is InitialFill.BLUR:
            sigma = _BLUR_PART * max(rgb.shape[:2])
            filling = np.asarray(cv2.GaussianBlur(filling, (0, 0), sigma), dtype=np.float32)
    mixed = values + (filling - values) * weight
    return mixed.round().clip(0, 255).astype(np.uint8)


def spread(values: Field, known: Field) -> Field:
    """``values`` (h x w x C) where ``known`` (h x w, 0 to 1) is 1; smoothly continued elsewhere.

    Push and pull over a pyramid (Gortler et al., The Lumigraph, 1996, section 3.4): known values
    are averaged on the way down, and fill what is unknown on the way up. It costs one pass over
    the picture whatever the size of the hole. All zero where nothing is known.
    """
    height, width = known.shape
    weight = known[..., None]
    if min(height, width) <= 2 or known.min() >= 1.0:
        total = float(weight.sum())
        if total <= 0.0:
            return np.zeros_like(values)
        mean = (values * weight).sum(axis=(0, 1)) / total
        return (values * weight + mean * (1.0 - weight)).astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    pushed = cv2.resize(values * weight, half, interpolation=cv2.INTER_AREA)
    amount = np.asarray(cv2.resize(known, half, interpolation=cv2.INTER_AREA), dtype=np.float32)
    coarse_values = np.asarray(pushed, dtype=np.float32).reshape(half[1], half[0], -1)
    coarse_values = (coarse_values / np.maximum(amount, 1e-6)[..., None]).astype(np.float32)
    # A coarse pixel that has any known part is known.
    coarse = spread(coarse_values, np.minimum(1.0, amount * 4.0))
    pulled = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    pulled = np.asarray(pulled, dtype=np.float32).reshape(height, width, -1)
    return (values * weight + pulled * (1.0 - weight)).astype(np.float32)
