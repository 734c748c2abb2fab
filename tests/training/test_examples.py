"""Training examples: the same seed gives the same one, and what is said of it is true."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.scenes import make_example
from training.scenes.draw import draw_plain
from training.scenes.example import _house_mask  # pyright: ignore[reportPrivateUsage]
from training.scenes.people import ACTIONS, CLOTHES, JOINTS, draw_person, random_person
from training.scenes.spec import random_scene
from training.scenes.subjects import (
    EMOJI_FONT,
    HUES,
    PACKED,
    SUBJECTS,
    cut_out,
    missing_sources,
    pack,
    recoloured,
    sources,
)

needs_emoji = pytest.mark.skipif(
    not EMOJI_FONT.exists(), reason="the package fonts-noto-color-emoji is not installed"
)


def test_a_seed_always_gives_the_same_example() -> None:
    for seed in range(6):
        first, second = make_example(seed), make_example(seed)
        assert np.array_equal(np.asarray(first.picture), np.asarray(second.picture))
        assert np.array_equal(np.asarray(first.sketch), np.asarray(second.sketch))
        assert first.captions == second.captions
        assert first.people == second.people


@needs_emoji
def test_subjects_stand_anywhere_where_that_is_asked_for_and_all_else_is_as_before() -> None:
    changed = 0
    for seed in range(24):
        plain, free = make_example(seed), make_example(seed, anywhere=1.0)
        is_same = np.array_equal(np.asarray(plain.picture), np.asarray(free.picture))
        if plain.subject in SUBJECTS:
            changed += not is_same
            assert not any("background" in text for text in free.captions), "no plain paper"
            assert (np.asarray(free.mask) > 0).any()
        else:
            assert is_same
            assert plain.captions == free.captions
    assert changed > 5


@needs_emoji
def test_captions_name_subject_and_colour_and_no_other_subject() -> None:
    seen: set[str] = set()
    for seed in range(200, 260):
        example = make_example(seed)
        if example.subject not in SUBJECTS:
            continue
        seen.add(example.subject)
        wanted = SUBJECTS[example.subject].words or (example.subject,)
        for text in example.captions:
            assert example.subject in text or any(words in text for words in wanted)
            assert not example.colour or example.colour in text
    assert len(seen) > 15


def test_people_stand_in_the_picture_where_their_skeleton_says() -> None:
    for seed in range(40):
        person = random_person(random.Random(seed), 0.5, 0.95, 0.8)
        assert len(person.joints) == JOINTS
        assert max(y for _, y in person.joints) == pytest.approx(0.95)
        alpha = np.asarray(draw_person(person, 128))[..., 3]
        for joint in range(14):
            x, y = (round(value * 128) for value in person.joints[joint])
            near = alpha[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5]
            assert near.size == 0 or near.max() > 0, (seed, joint)


def test_a_description_is_true_of_the_person() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        person = random_person(rng, 0.5, 0.95, 0.8)
        text = person.words(rng)
        assert person.who in text.split()
        assert any(words in text for words in ACTIONS[person.action].words)
        clothes = text.split(" in a")[1].split()[:3] if " in a" in text else []
        assert {word for word in clothes if word in CLOTHES} <= {person.colour}
        assert ("behind" in text) <= person.from_behind


def test_the_mask_covers_what_was_added_and_nothing_else() -> None:
    for seed in range(20):
        example = make_example(seed)
        share = (np.asarray(example.mask) > 0).mean()
        if example.people or example.subject:
            assert 0.01 < share < 0.9
        else:
            assert share == 0


def test_a_houses_mask_lies_on_its_house() -> None:
    scene = next(s for s in map(random_scene, range(99)) if s.house == "red" and s.time == "day")
    mask = np.asarray(_house_mask(scene)) > 0
    without = replace(scene, items=tuple(i for i in scene.items if "house" not in i.kind))
    differs = np.abs(np.asarray(draw_plain(scene), int) - np.asarray(draw_plain(without), int))
    changed = differs.max(2) > 40
    assert changed[mask].mean() > 0.9
    assert (changed & ~mask).sum() < 0.3 * mask.sum(), "its shadow and its chimney at most"


@needs_emoji
@pytest.mark.parametrize("hue", sorted(HUES))
def test_a_recoloured_drawing_has_that_colour(hue: str) -> None:
    car = cut_out("emoji:🚗")
    assert car is not None
    painted = recoloured(car, hue)
    assert painted is not None
    rgba = np.asarray(painted)
    hsv = np.asarray(painted.convert("RGB").convert("HSV")).astype(float)
    strong = (rgba[..., 3] > 200) & (hsv[..., 1] > 120)
    turn = np.abs(hsv[..., 0][strong] / 255 - HUES[hue])
    assert np.median(np.minimum(turn, 1 - turn)) < 0.04


@needs_emoji
def test_what_has_no_colour_is_not_said_to_have_one() -> None:
    grey = Image.new("RGBA", (40, 40), (120, 120, 120, 255))
    assert recoloured(grey, "red") is None


@needs_emoji
def test_packed_drawings_make_the_same_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = range(40)
    before = [make_example(seed) for seed in seeds]
    assert len({example.subject for example in before} & set(SUBJECTS)) > 10
    assert pack(tmp_path / "drawings.zip") > len(SUBJECTS)
    try:
        monkeypatch.setenv(PACKED, str(tmp_path / "drawings.zip"))
        # A machine without the fonts and drawings: nothing but the file is left to read.
        monkeypatch.setattr("training.scenes.subjects.EMOJI_FONT", tmp_path / "none.ttf")
        monkeypatch.setattr("training.scenes.subjects.CLIPART", tmp_path / "none")
        sources.cache_clear()
        cut_out.cache_clear()
        assert not missing_sources()
        for seed, example in zip(seeds, before, strict=True):
            again = make_example(seed)
            assert np.array_equal(np.asarray(again.picture), np.asarray(example.picture))
            assert again.captions == example.captions
    finally:
        sources.cache_clear()
        cut_out.cache_clear()
