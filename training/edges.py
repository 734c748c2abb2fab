"""Pictures and the edges asked of them enter; how far they are from agreeing leaves.

A ControlNet for scribbles learns by it that lines which were drawn must be seen again, as
ControlNet++ does with an edge detector (Li et al., arXiv 2404.07987, section 3.2): F1 of edges
within two pixels, with everything that is a yes or no in it made gradual. ``evaluate`` counts the
same with Canny's detector, so its number is what was trained for, on other pictures.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

__all__ = ["CANNY", "canny_edges", "edge_disagreement", "edge_strength"]

CANNY = (100, 200)
"""Thresholds of the sum of both slopes, for grey from 0 to 255."""
NEAR_PX = 2
_SOFTNESS = 50.0


def canny_edges(pictures: np.ndarray[Any, Any]) -> torch.Tensor:
    """RGB, N x H x W x 3 of bytes, becomes N x 1 x H x W of 0 and 1."""
    found = [cv2.Canny(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), *CANNY) for each in pictures]
    return (torch.from_numpy(np.stack(found)) > 0).float()[:, None]


def edge_strength(images: torch.Tensor) -> torch.Tensor:
    """RGB, N x 3 x H x W in [-1, 1], becomes N x 1 x H x W in [0, 1]: how sure an edge is.

    Sobel's slopes, as Canny's detector has them; about a half lies between its thresholds, and a
    flat place has exactly none, because there are so many of them.
    """
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = functional.pad((images * weights).sum(1, keepdim=True) * 127.5, (1,) * 4, "replicate")
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    slopes = functional.conv2d(grey, torch.stack([across, across.T])[:, None])  # N x 2 x H x W
    middle = images.new_tensor(sum(CANNY) / 2)
    sure = torch.sigmoid((slopes.abs().sum(1, keepdim=True) - middle) / _SOFTNESS)
    least = torch.sigmoid(-middle / _SOFTNESS)
    return (sure - least) / (1 - least)


def edge_disagreement(images: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """1 less the gradual F1 of each of N pictures (as above) against its edges: N values."""
    side = 2 * NEAR_PX + 1
    found = edge_strength(images)
    near_found = functional.max_pool2d(found, side, stride=1, padding=NEAR_PX)
    near_asked = functional.max_pool2d(asked, side, stride=1, padding=NEAR_PX)
    every = (1, 2, 3)
    precision = (found * near_asked).sum(every) / found.sum(every).clamp(min=1e-3)
    recall = (near_found * asked).sum(every) / asked.sum(every).clamp(min=1e-3)
    return 1 - 2 * precision * recall / (precision + recall).clamp(min=1e-3)
