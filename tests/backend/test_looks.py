"""What is being made is shown while it is: roughly, small, and only to who wants to see it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.looks import Looks
from nijimi_backend.engine.request import FrameRequest, Pixels
from nijimi_backend.engine.stages import encode_canvas
from nijimi_backend.models.bundle import ModelBundle
from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import MAX_LOOK_PX
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return open_engine("", None, "cpu")._bundle  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def tiny(models_dir: Path) -> Engine:
    return open_engine("tiny", models_dir, "cpu")


def _two_colours() -> Pixels:
    rgb = np.zeros((256, 256, 3), dtype=np.uint8)
    rgb[:, :128], rgb[:, 128:] = (220, 40, 40), (40, 90, 220)
    cv2.circle(rgb, (128, 128), 50, (255, 255, 255), -1)
    return rgb


def test_a_look_has_the_colours_of_the_picture(bundle: ModelBundle) -> None:
    with torch.inference_mode():
        look = Looks(bundle).look(encode_canvas(bundle, _two_colours()))
    assert look.shape == (32, 32, 4)
    assert (look[..., 3] == 255).all()
    wanted = cv2.resize(_two_colours(), (32, 32), interpolation=cv2.INTER_AREA)
    # Where it is plain, beside the edges: left, middle, right.
    for x, y in ((6, 6), (16, 16), (25, 25)):
        found = look[y - 1 : y + 2, x - 1 : x + 2, 2::-1].mean(axis=(0, 1))
        assert np.abs(found - wanted[y, x]).max() < 60


def test_a_large_picture_is_looked_at_small(bundle: ModelBundle) -> None:
    with torch.inference_mode():
        look = Looks(bundle).look(torch.zeros(1, 4, 160, 320))
    assert look.shape == (MAX_LOOK_PX // 2, MAX_LOOK_PX, 4)


def _request(looks: list[Pixels] | None, **more: object) -> FrameRequest:
    params = RenderParams(mode=RenderMode.IMG2IMG, num_inference_steps=4, strength=0.8)
    return FrameRequest(
        params=params,
        extent=Extent(96, 64),
        canvas=np.full((64, 96, 4), 200, dtype=np.uint8),
        canvas_version=1,
        on_look=looks.append if looks is not None else None,
        **more,  # type: ignore[arg-type]
    )


def test_each_step_but_the_last_is_shown_and_changes_nothing(tiny: Engine) -> None:
    looks: list[Pixels] = []
    seen = tiny.render(_request(looks)).pixels
    assert len(looks) == 3
    assert looks[0].shape == (seen.shape[0] // 8, seen.shape[1] // 8, 4)
    assert np.array_equal(seen, tiny.render(_request(None)).pixels)


def test_enlarging_is_shown_whole(tiny: Engine) -> None:
    looks: list[Pixels] = []
    wish = UpscaleParams(factor=2.0, strength=0.5)
    picture = tiny.render(_request(looks, upscale=wish)).pixels
    assert looks
    assert looks[-1].shape[:2] == (picture.shape[0] // 8, picture.shape[1] // 8)
