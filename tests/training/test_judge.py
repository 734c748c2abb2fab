"""The judge and its measures: shapes, known answers, and a round trip through its own data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training import build_data, judge
from training.evaluate import BARS, coarse, frechet, psnr, table
from training.judge import (
    CLASSES,
    COLOURS,
    Judge,
    as_input,
    laid_on,
    landscapes,
    movable,
    moved,
    pck,
    read_truth,
    score,
)
from training.scenes.people import JOINTS


def test_a_judge_gives_subject_colour_joints_and_features() -> None:
    found = Judge().eval()(torch.zeros(2, 3, judge.INPUT_PX, judge.INPUT_PX))
    assert found["subject"].shape == (2, len(CLASSES))
    assert found["colour"].shape == (2, len(COLOURS))
    assert found["joints"].shape == (2, JOINTS, 2)
    assert found["features"].shape == (2, 192)
    assert (found["joints"] >= 0).all()
    assert (found["joints"] <= 1).all()


def test_there_are_enough_classes_and_no_two_alike() -> None:
    assert len(CLASSES) == len(set(CLASSES)) >= 30
    assert "person" in CLASSES


def test_mirrored_joints_change_places_and_back() -> None:
    order = judge.MIRRORED
    assert sorted(order) == list(range(JOINTS))
    assert [order[n] for n in order] == list(range(JOINTS))
    assert order[:2] == [0, 1]


def test_joints_within_a_tenth_of_the_person_count() -> None:
    asked = torch.zeros(1, JOINTS, 2)
    asked[0, 1] = torch.tensor([0.2, 0.8])
    found = asked.clone()
    assert pck(found, asked).item() == 1.0
    found[0, 0, 0] += 0.079
    assert pck(found, asked).item() == 1.0
    found[0, 0, 0] += 0.01
    assert pck(found, asked).item() == pytest.approx(1 - 1 / JOINTS)


def test_the_distance_of_a_set_to_itself_is_nothing_and_grows_with_a_shift() -> None:
    torch.manual_seed(0)
    features = torch.randn(400, 6)
    assert frechet(features, features) == pytest.approx(0.0, abs=1e-6)
    assert frechet(features, features + 2.0) == pytest.approx(4.0 * 6, rel=0.01)
    assert frechet(features, 3.0 * features) > 10.0


def test_measures_of_pictures_have_their_known_values() -> None:
    grey = np.full((256, 256, 3), 100, np.uint8)
    assert psnr(grey, grey + 10) == pytest.approx(28.13, abs=0.01)
    assert coarse(grey).shape == (16 * 16 * 3,)
    assert (coarse(grey) == 100).all()


def test_a_table_tells_which_bar_is_met() -> None:
    name = "subject_4_steps"
    bar = BARS[name][0]
    assert "not met" in table({name: bar - 0.01})
    assert "not met" not in table({name: bar})
    assert "not met" in table({"memory_mb": 5000})


def test_the_packed_data_is_read_back_and_judged(tmp_path: Path) -> None:
    build_data.build(tmp_path, "held_out", 92, 12, 1)
    truth = read_truth(tmp_path, "held_out")
    assert len(truth) == 12
    assert truth.pictures.shape == (12, 256, 256, 3)
    assert as_input(truth.pictures[:2]).shape == (2, 3, judge.INPUT_PX, judge.INPUT_PX)
    told = json.loads((tmp_path / "held_out.json").read_text())
    bare = [n for n, each in enumerate(told) if not each["subject"] and not each["people"]]
    assert landscapes(truth) == bare
    two = [len(each["people"]) for each in told if not each["subject"]]
    assert sorted(two) == [0, 0, 2]
    (row, *_), (ground, *_) = movable(truth), bare
    assert told[row]["subject"] not in ("", "house", "person")
    (laid,) = laid_on(truth, [row], [ground])
    mask = np.kron(truth.masks[row], np.ones((8, 8)))
    inside, outside = mask == 255, cv2.dilate(mask, np.ones((25, 25))) == 0
    assert np.abs(laid[outside].astype(int) - truth.pictures[ground][outside]).max() == 0
    assert np.abs(laid[inside].astype(int) - truth.pictures[row][inside]).mean() < 12
    right = score(Judge(), truth, torch.device("cpu"))
    assert set(right) == {"subject", "elsewhere", "colour", "joints"}
    assert all(0.0 <= value <= 1.0 for value in right.values())


def test_an_interrupted_build_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    build_data.build(whole, "train", 5, 6, 1)
    build_data.build(cut, "train", 5, 6, 1)
    lines = (cut / "train.jsonl").read_text().splitlines()
    # As if it had ended in the middle of the fourth line.
    (cut / "train.jsonl").write_text("\n".join([*lines[:3], lines[3][:20]]))
    build_data.build(cut, "train", 5, 6, 1)
    assert np.array_equal(np.load(whole / "train.npy"), np.load(cut / "train.npy"))
    assert json.loads((cut / "train.json").read_text()) == json.loads(
        (whole / "train.json").read_text()
    )


def test_a_moved_picture_takes_its_joints_along() -> None:
    torch.manual_seed(0)
    images = torch.zeros(3, 4, 32, 32)
    images[:, :, 16, 16] = 1
    before = torch.linspace(0.1, 0.9, 2 * JOINTS).view(1, JOINTS, 2).expand(3, -1, -1)
    made, joints = moved(images, before, reach=5)
    places = made[:, 0].flatten(1).argmax(1)
    offsets = torch.stack([places % 32 - 16, places // 32 - 16], -1) / 32  # N x 2, x and y
    assert offsets.abs().max() > 0
    assert torch.allclose(joints - before, offsets[:, None].expand(-1, JOINTS, -1))
