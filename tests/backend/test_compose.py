"""What was painted, laid over its surroundings: colours agree at the edge, things stay."""

from __future__ import annotations

import numpy as np
import pytest
from nijimi_backend.engine.inpaint.compose import compose
from nijimi_backend.engine.inpaint.regions import Region
from nijimi_protocol.geometry import Bounds
from nijimi_protocol.inpaint import InpaintParams


@pytest.mark.parametrize("varying", [False, True])
def test_colours_are_matched_to_what_lies_around(varying: bool) -> None:
    before = np.full((96, 96, 3), 120, np.uint8)
    selection = np.zeros((96, 96), np.uint8)
    selection[30:66, 30:66] = 255
    shift = np.array([30, -25, 10])
    made = np.clip(before.astype(int) + shift, 0, 255).astype(np.uint8)
    region = Region(
        crop=Bounds(0, 0, 96, 96), selection=selection, repaint=selection, alpha=selection
    )
    plain = compose(region, before, made, InpaintParams(match_colours=False, poisson=False))
    matched = compose(region, before, made, InpaintParams(poisson=varying))
    assert abs(int(plain[48, 48, 2]) - 120) == 30
    assert np.abs(matched[48, 48, :3].astype(int) - 120).max() <= 2


@pytest.mark.parametrize("varying", [False, True])
def test_what_is_painted_across_the_edge_does_not_tint_the_rest(varying: bool) -> None:
    before = np.full((96, 96, 3), 120, np.uint8)
    selection = np.zeros((96, 96), np.uint8)
    selection[30:66, 30:66] = 255
    # A little too light everywhere, and a red thing that reaches over the upper edge.
    made = np.full((96, 96, 3), 128, np.uint8)
    made[20:44] = (230, 40, 30)
    region = Region(
        crop=Bounds(0, 0, 96, 96), selection=selection, repaint=selection, alpha=selection
    )
    matched = compose(region, before, made, InpaintParams(poisson=varying))
    # BGRA: the rest is as light as what lies around, and the thing is still red.
    assert np.abs(matched[60, 48, :3].astype(int) - 120).max() <= 2
    assert np.abs(matched[36, 48, :3].astype(int) - (30, 40, 230)).max() <= 16
    # Something else all around: there is nothing to compare.
    made[:] = (230, 40, 30)
    untouched = compose(region, before, made, InpaintParams(poisson=varying))
    assert untouched[48, 48, :3].tolist() == [30, 40, 230]


def test_a_thing_keeps_its_colour_where_its_surroundings_differ() -> None:
    """Grass here and a dress there are no cast: the edge fits both, the inside is as it was."""
    before = np.full((96, 96, 3), (90, 140, 70), np.uint8)
    before[:, 48:] = (155, 110, 170)
    made = np.full((96, 96, 3), 125, np.uint8)
    selection = np.zeros((96, 96), np.uint8)
    selection[24:72, 24:72] = 255
    region = Region(
        crop=Bounds(0, 0, 96, 96), selection=selection, repaint=selection, alpha=selection
    )
    matched = compose(region, before, made, InpaintParams(poisson=True))[..., 2::-1].astype(int)
    assert np.abs(matched[48, 36:60] - 125).max() <= 8
    assert np.abs(matched[48, 24] - before[48, 23]).max() <= 14
    assert np.abs(matched[48, 71] - before[48, 72]).max() <= 14
