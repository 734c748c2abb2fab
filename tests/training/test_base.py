"""What the base's training draws and counts: timesteps, subjects, masks beside latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from training.encode_latents import masks_of, name_of
from training.networks import SCHEDULER
from training.train_base import (
    SKETCH_FROM,
    TYPICAL_AREA,
    chances_of,
    draw,
    draw_words,
    evened,
    mean_by,
)


def test_timesteps_are_drawn_as_often_as_they_count() -> None:
    signal = DDPMScheduler(**SCHEDULER).alphas_cumprod
    chances = chances_of(signal)
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
    # Pure noise decides what is shown; nearly clean latents teach almost nothing.
    assert chances[999] > 50 * chances[0]
    torch.manual_seed(3)
    drawn = draw(chances, 200_000, 0)
    counted = torch.bincount(drawn, minlength=1000).float() / len(drawn)
    by_hundreds = counted.view(10, 100).sum(1), chances.view(10, 100).sum(1)
    assert torch.allclose(*by_hundreds, atol=0.005)


def test_noised_sketches_are_never_nearly_clean() -> None:
    chances = chances_of(DDPMScheduler(**SCHEDULER).alphas_cumprod)
    torch.manual_seed(3)
    drawn = draw(chances, 4000, 2000)
    assert int(drawn[:2000].min()) >= SKETCH_FROM
    assert int(drawn[2000:].min()) < SKETCH_FROM


def test_errors_at_the_subject_count_more() -> None:
    error = torch.zeros(1, 2, 2)
    error[0, 0, 0] = 1.0
    cover = torch.zeros(1, 2, 2)
    assert float(mean_by(error, cover, 3.0)) == pytest.approx(1 / 4)
    cover[0, 0, 0] = 1.0
    assert float(mean_by(error, cover, 3.0)) == pytest.approx(3 / 6)
    assert float(mean_by(error, cover, 1.0)) == pytest.approx(1 / 4)


def test_a_small_subject_counts_more_at_each_place_up_to_four_times() -> None:
    cover = torch.zeros(4, 20, 20)
    cover[0, :10] = 1.0  # half of the picture
    cover[1, :1] = 1.0  # 0.05 of it
    cover[2, 0, 0] = 1.0
    even = evened(cover)
    assert torch.equal(even[0], cover[0])
    assert even[1].sum() == pytest.approx(400 * TYPICAL_AREA)
    assert even[2, 0, 0] == pytest.approx(4.0)
    assert not even[3].any()
    assert torch.equal(even > 0, cover > 0)


def test_masks_lie_beside_the_latents_of_picture_and_mirror(tmp_path: Path) -> None:
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[1, :, :16] = 255
    np.save(tmp_path / "mask.npy", masks)
    found = masks_of(tmp_path / "mask.npy", 16)
    assert found.shape == (4, 16, 16)
    assert not found[:2].any()
    assert bool((found[2, :, :8] == 255).all())
    assert not found[2, :, 8:].any()
    assert torch.equal(found[3], found[2].flip(-1))


def test_selections_are_often_filled_by_a_name_alone() -> None:
    empty = torch.zeros(1, 77, dtype=torch.int16)
    # Pictures 0 to 9 have a name, the others are scenes.
    names = empty.repeat(20, 1)
    names[:10, 1] = 7
    tokens = torch.full((20, 4, 77), 5, dtype=torch.int16)
    data = {"tokens": tokens, "names": names, "empty": empty}
    torch.manual_seed(0)
    rows = torch.randint(40, (2000,))
    words = draw_words(data, rows, slice(1000, None))
    is_named = (words[:, 1] == 7) & (words[:, 2] == 0)
    assert bool((words[~is_named] == 5).all())
    assert not is_named[:1000].any()
    assert not is_named[rows // 2 >= 10].any()
    with_name = rows[1000:] // 2 < 10
    assert float(is_named[1000:][with_name].float().mean()) == pytest.approx(2 / 3, abs=0.08)


def test_a_name_is_what_a_painter_would_type() -> None:
    assert name_of({"subject": "fish", "colour": "red"}) == "a red fish"
    assert name_of({"subject": "bear", "colour": ""}) == "a bear"
    assert name_of({"subject": "house", "colour": "brown"}) == "a brown house"
    assert name_of({"subject": "person", "colour": ""}) == ""
    assert name_of({"subject": "", "colour": ""}) == ""
