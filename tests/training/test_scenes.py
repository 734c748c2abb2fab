"""The scenes that the model learns from: the same seed, the same scene, and a true caption."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.scenes import caption_of, draw_scene, draw_sketch, random_scene


def _coarse(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=np.float64).ravel()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_always_gives_the_same_scene(seed: int) -> None:
    first, second = random_scene(seed), random_scene(seed)
    assert first == second
    assert np.array_equal(np.asarray(draw_scene(first)), np.asarray(draw_scene(second)))
    assert caption_of(first, random.Random(5)) == caption_of(second, random.Random(5))


def test_a_caption_names_only_what_is_drawn() -> None:
    for seed in range(300):
        scene = random_scene(seed)
        text = caption_of(scene, random.Random(seed))
        kinds = {item.kind for item in scene.items}
        assert ("house" in text) <= bool(scene.house)
        assert ("boat" in text) <= ("boat" in kinds)
        assert ("pine" in text or "fir tree" in text) <= ("pine" in kinds)
        assert ("mountains" in text) <= bool(scene.mountains)
        assert ("night" in text) <= (scene.time == "night")
        assert ("sunset" in text) <= (scene.time == "sunset")


def test_a_sketch_has_the_layout_of_its_picture_but_not_its_detail() -> None:
    alike: list[float] = []
    for seed in range(12):
        scene = random_scene(seed)
        picture, sketch = draw_scene(scene), draw_sketch(scene)
        assert picture.size == sketch.size == (256, 256)
        assert not np.array_equal(np.asarray(picture), np.asarray(sketch))
        alike.append(float(np.corrcoef(_coarse(picture), _coarse(sketch))[0, 1]))
    assert np.median(alike) > 0.85
