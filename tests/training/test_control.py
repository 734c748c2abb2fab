"""Training of ControlNets: hints are what the engine draws, and mirrors are true to the body."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training import build_data
from training.evaluate import edge_f1
from training.networks import make_unet
from training.train_control import Hints, late_timesteps, make_controlnet, people_of

BODY = [[0.1 + 0.04 * n, 0.3 + 0.02 * n] for n in range(18)]


def test_a_mirrored_person_keeps_right_and_left() -> None:
    (plain,), (mirrored,) = people_of([BODY]), people_of([BODY], mirrored=True)
    assert plain.body[4][:2] == pytest.approx((0.26 * 256, 0.38 * 256))
    # What was the left wrist is the right one in the mirror, on the other side.
    assert mirrored.body[4].x == pytest.approx(256 - plain.body[7].x)
    assert mirrored.body[4].y == pytest.approx(plain.body[7].y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    build_data.build(folder, "train", 5, 12, 1)
    return folder


@pytest.mark.parametrize("kind", ["pose", "scribble"])
def test_hints_fit_their_rows_and_their_mirrors(folder: Path, kind: str) -> None:
    hints = Hints(kind, folder)
    rows = hints.rows.tolist()
    assert rows
    assert len(rows) % 2 == 0
    batch = hints.batch(rows[:4])
    assert batch.shape == (min(4, len(rows)), 3, 256, 256)
    assert 0.0 <= batch.min() < batch.max() <= 1.0
    assert hints.batch(rows[:1], 128).shape == (1, 3, 128, 128)
    if kind == "scribble":
        assert len(rows) == 24
        agreement = (batch[0].flip(-1) - batch[1]).abs().mean() / batch[0].mean()
        assert agreement < 0.35, "a mirror's lines are the mirrored lines"
    else:
        assert len(rows) < 24, "pictures without people teach no pose"


def test_limbs_count_where_they_are_and_in_the_mirror_where_they_are_there(folder: Path) -> None:
    hints = Hints("pose", folder)
    row = int(hints.rows[0])
    plain, mirrored = hints.limbs([row, row + 1], 32)
    assert plain.shape == (32, 32)
    assert torch.allclose(plain.flip(-1), mirrored, atol=1e-3)
    wrist = hints.control(row // 2).people[0].body[4]
    assert plain[int(wrist.y / 8), int(wrist.x / 8)] > 0.8
    assert plain.mean() < 0.25


def test_only_rows_that_are_encoded_are_drawn(folder: Path) -> None:
    rows = Hints("scribble", folder, count=4).rows.tolist()
    assert rows == list(range(8))
    people = Hints("pose", folder, count=4).rows.tolist()
    assert people == [row for row in Hints("pose", folder).rows.tolist() if row < 8]


def test_most_timesteps_are_late_ones() -> None:
    torch.manual_seed(0)
    drawn = late_timesteps(20_000)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) <= 999
    # The cube of the part: half of the range holds an eighth, nine tenths hold 73 in 100.
    assert float((drawn < 500).float().mean()) == pytest.approx(0.125, abs=0.01)
    assert float((drawn < 900).float().mean()) == pytest.approx(0.729, abs=0.015)


def test_an_untrained_controlnet_leaves_the_base_as_it_is() -> None:
    torch.manual_seed(0)
    unet = make_unet().eval()
    network = make_controlnet(unet).eval()
    latents, embeds = torch.randn(1, 4, 32, 32), torch.randn(1, 77, 192)
    with torch.inference_mode():
        down, middle = network(
            latents, torch.tensor(500), encoder_hidden_states=embeds,
            controlnet_cond=torch.rand(1, 3, 256, 256), return_dict=False,
        )  # fmt: skip
    assert all(not each.any() for each in (*down, middle))
    hint_out: Any = network.controlnet_cond_embedding.conv_out
    assert hint_out.weight.any(), "behind two layers of zeros nothing learns at first"
    assert sum(p.numel() for p in network.parameters()) < 9_000_000, "two of them fit into git"


def test_edges_agree_with_themselves_and_not_with_others() -> None:
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[60:180, 80:200] = 255
    shifted, other = np.roll(picture, 2, axis=1), np.roll(picture, 30, axis=(0, 1))
    assert edge_f1(picture, picture) == pytest.approx(1.0)
    assert edge_f1(picture, shifted) > 0.9
    assert edge_f1(picture, other) < 0.3
    assert edge_f1(picture, np.zeros_like(picture)) == 0.0
