"""Where subjects are enters; selections that a painter might fill leave, as masks of latents.

What lies outside a selection is given to the network as it is, without noise: what stays is known,
and a step that has no signal yet (the first) sees at once what it must fit to. Its timestep says
the noise of the selection alone. The usual way, noise on what is known as well (Lugmayr et al.,
RePaint, arXiv 2201.09865, equation 8), tells the first of four steps nothing.
"""

from __future__ import annotations

import torch

__all__ = ["select", "selections"]

_HALF_PART = 0.1
"""Half-planes among them: a canvas is enlarged on one side."""
_CLOSE, _LOOSE = 0.2, 0.8
"""Margins around what is covered at most, as a part of it, in one half of them and the other.

Were all of them close, a filling would take its selection's shape."""


def selections(cover: torch.Tensor) -> torch.Tensor:
    """N x 1 x h x w, 1 where the picture is to be filled, for ``cover`` (N x h x w in [0, 1]).

    An ellipse or a box around all of what is covered, with a margin, and not in its middle where
    that is wide; where nothing is covered, anywhere.
    """
    chosen = torch.ones_like(cover)
    for row, each in zip(chosen, cover, strict=True):
        row.copy_(select(each))
    return chosen[:, None]  # N x 1 x h x w


def select(cover: torch.Tensor) -> torch.Tensor:
    """One of them, h x w of 0 and 1, drawn by torch's global generator."""
    height, width = cover.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    chance = torch.rand(8).tolist()
    found = (cover > 0.25).nonzero()
    if len(found):
        (top, left), (bottom, right) = found.amin(0).tolist(), found.amax(0).tolist()
    elif chance[0] < _HALF_PART:
        edge = int((0.3 + 0.4 * chance[1]) * width)
        half = columns >= edge if chance[2] < 0.5 else columns < edge
        return half.float()
    else:
        tall, wide = int((0.3 + 0.4 * chance[1]) * height), int((0.3 + 0.4 * chance[2]) * width)
        top, left = int(chance[3] * (height - tall)), int(chance[4] * (width - wide))
        bottom, right = top + tall, left + wide
    widest = _LOOSE if len(found) and chance[7] < 0.5 else _CLOSE
    extra = widest * chance[5] * max(bottom - top, right - left)
    margin = 1 + extra
    y = (top + bottom) / 2 + extra * (chance[3] - 0.5)
    x = (left + right) / 2 + extra * (chance[4] - 0.5)
    reach_y, reach_x = (bottom - top) / 2 + margin, (right - left) / 2 + margin
    if chance[6] < 0.3:
        return ((rows - y).abs().le(reach_y) & (columns - x).abs().le(reach_x)).float()
    # Corners of the subject's box lie a little outside of an ellipse 1.15 times as large.
    far = ((rows - y) / (1.15 * reach_y)) ** 2 + ((columns - x) / (1.15 * reach_x)) ** 2
    return far.le(1.0).float()
