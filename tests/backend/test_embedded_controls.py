"""The embedded model's own ControlNets: what is drawn stands where the hint says."""

from __future__ import annotations

import numpy as np
import pytest
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.engine.request import Control
from nijimi_backend.picture_renderer import PictureRenderer
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pose import Joint, Person
from PIL import Image, ImageDraw

from tests.support.control_layers import STANDING

PROMPT = "a boy with black hair in a red shirt standing on a white background"


@pytest.fixture(scope="module")
def renderer() -> PictureRenderer:
    return PictureRenderer(open_engine(device="cpu"))


def red_at(renderer: PictureRenderer, control: Control) -> float:
    """The column, 0 to 256, around which the picture is red."""
    params = RenderParams(prompt=PROMPT, mode=RenderMode.TXT2IMG, num_inference_steps=4, seed=5)
    made = renderer.render(params, controls=(control,)).values.astype(np.float64)
    red = np.clip(made[..., 0] - made[..., 1:3].max(axis=2) - 30, 0, None).sum(axis=0)
    assert red.sum() > 0, "nothing is red"
    return float((red * np.arange(256)).sum() / red.sum())


def standing_at(column: float) -> Control:
    """One person of 200 px, the neck at that column."""
    body = np.array([[joint.x, joint.y] for joint in STANDING])
    body = (body - body[1]) * 200 / np.ptp(body[:, 1]) + (column, 70)
    return Control(
        kind="pose", people=(Person(body=tuple(Joint(float(x), float(y)) for x, y in body)),)
    )


def test_a_person_stands_where_the_pose_is(renderer: PictureRenderer) -> None:
    left, right = (red_at(renderer, standing_at(column)) for column in (70, 186))
    assert right - left > 70


def figure_at(column: int) -> Control:
    """The outlines of a head, a shirt and trousers, white on black."""
    lines = Image.new("RGBA", (256, 256), "black")
    draw = ImageDraw.Draw(lines)
    for half, top, bottom in ((16, 30, 66), (26, 72, 140), (20, 144, 230)):
        draw.rectangle((column - half, top, column + half, bottom), outline="white", width=3)
    return Control(kind="scribble", pixels=np.asarray(lines))


def test_each_painted_hint_counts_for_its_own_picture(renderer: PictureRenderer) -> None:
    """They come without versions, as from files: the one before must not be taken for it."""
    left, right = (red_at(renderer, figure_at(column)) for column in (70, 186))
    assert right - left > 70
