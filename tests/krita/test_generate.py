"""Generating in real Krita: finished pictures beside the document, and only applied ones in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .session import STROKE, Session

_HERE = Path(__file__).with_name("inside_generate.py")


class _Generating:
    """The shared Krita with nothing generated yet."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def inside(self, name: str, /, **arguments: Any) -> Any:
        return self.session.krita.call(_HERE, name, **arguments)

    def click(self, widget: str) -> None:
        x, y = self.inside("centre", name=f"nijimi_{widget}")
        self.session.krita.pointer.click((x, y))

    def click_thumbnail(self, number: int, times: int = 1) -> None:
        x, y = self.inside("thumbnail", number=number)
        for _ in range(times):
            self.session.krita.pointer.click((x, y))

    def passes_over_the_canvas(self) -> bool:
        """Whether that gave it the focus."""
        for place in self.session.points(STROKE):
            self.session.krita.pointer.move(place)
        return self.inside("canvas_has_focus")

    def generate(self, count: int = 2) -> None:
        """By the button, until the pictures are there."""
        before = len(self.inside("results"))
        self.session.nijimi("set_values", batch_count=count, final_steps=2, prompt="a red house")
        self.click("generate")
        self.session.wait_for(lambda: len(self.inside("results")) == before + count, 60)
        self.session.wait_for(lambda: self.inside("is_idle"))


@pytest.fixture
def work(session: Session) -> Iterator[_Generating]:
    session.nijimi("set_values", seed=5, seed_locked=True, strength=0.6)
    work = _Generating(session)
    yield work
    work.inside("clear_results")


def test_pictures_are_generated_with_live_off_and_the_document_stays_as_it_is(
    work: _Generating, tmp_path: Path
) -> None:
    session = work.session
    session.stroke(STROKE, step_ms=8)
    before = session.step("layer_bytes", name="paint")
    work.generate(2)
    session.step("screenshot", path=str(tmp_path / "generated.png"))
    assert work.inside("results") == [[5, [256, 256], False], [6, [256, 256], False]]
    assert session.layers() == ["paper", "paint"]
    assert session.step("layer_bytes", name="paint") == before
    assert not session.inside("setting", name="live")


def test_what_is_being_made_is_seen_while_it_is_made(work: _Generating, tmp_path: Path) -> None:
    session = work.session
    session.stroke(STROKE, step_ms=8)
    session.nijimi("set_values", batch_count=1, final_steps=60, prompt="a red house")
    work.click("generate")
    session.wait_for(lambda: work.inside("look_is_seen"), 60)
    session.step("screenshot", path=str(tmp_path / "being-made.png"))
    work.click("cancel")
    session.wait_for(lambda: work.inside("is_idle"))
    assert not work.inside("look_is_seen")


def test_a_chosen_picture_is_seen_until_the_painter_goes_on(work: _Generating) -> None:
    session = work.session
    work.generate(2)
    assert not work.inside("overlay_is_shown")
    work.click_thumbnail(0)
    session.wait_for(lambda: work.inside("chosen") == 6)
    assert work.inside("overlay_is_shown")
    # A pointer that passes over the canvas takes the focus along, and nothing else.
    session.wait_for(work.passes_over_the_canvas)
    assert work.inside("chosen") == 6
    session.stroke(STROKE, step_ms=8)
    session.wait_for(lambda: work.inside("chosen") is None)
    assert not work.inside("overlay_is_shown")


def test_a_double_click_applies_and_one_undo_takes_it_away(work: _Generating) -> None:
    session = work.session
    work.generate(1)
    work.click_thumbnail(0, times=2)
    session.wait_for(lambda: len(session.layers()) == 3)
    assert session.layers() == ["paper", "paint", "Nijimi: a red house"]
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: session.layers() == ["paper", "paint"])


def test_a_batch_of_a_selection_leaves_the_rest_transparent(work: _Generating) -> None:
    session = work.session
    session.inside("select", x=100, y=120, width=200, height=150)
    work.generate(1)
    assert work.inside("results")[0][2]
    work.click_thumbnail(0, times=2)
    session.wait_for(lambda: "Nijimi: a red house" in session.layers())
    area = {"x": 100, "y": 120, "width": 200, "height": 150}
    assert work.inside("alpha_outside", layer="Nijimi: a red house", **area) == 0
    session.inside("deselect")


def test_an_enlarged_picture_is_applied_or_becomes_a_document_of_its_own(
    work: _Generating, tmp_path: Path
) -> None:
    session = work.session
    session.stroke(STROKE, step_ms=8)
    before = session.step("layer_bytes", name="paint")
    session.nijimi(
        "set_values", prompt="a red house", final_steps=2, upscale_factor=1.5, upscale_percent=15
    )
    work.click("upscale")
    session.wait_for(lambda: bool(work.inside("results")), 90)
    session.wait_for(lambda: work.inside("is_idle"))
    assert work.inside("results") == [[5, [768, 768], False]]
    session.step("screenshot", path=str(tmp_path / "upscaled.png"))
    assert session.step("layer_bytes", name="paint") == before
    work.click_thumbnail(0, times=2)
    session.wait_for(lambda: len(session.layers()) == 3)
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: session.layers() == ["paper", "paint"])
    work.inside("open_result", number=0)
    session.wait_for(lambda: work.inside("front_document") == [768, 768, "Nijimi: a red house"])
    session.step("screenshot", path=str(tmp_path / "opened.png"))
    assert work.inside("documents") == 2
    assert session.layers() == ["Nijimi: a red house"]
    # It shows what was made, and has nothing generated of its own.
    assert work.inside("distinct_pixels") > 1000
    assert work.inside("results") == []
    work.inside("close_front")
    session.wait_for(lambda: session.layers() == ["paper", "paint"])
    assert session.step("layer_bytes", name="paint") == before


def test_live_goes_on_beside_a_batch_which_can_be_given_up(work: _Generating) -> None:
    session = work.session
    session.go_live()
    session.nijimi("set_values", batch_count=4, final_steps=40)
    work.click("generate")
    session.wait_for(lambda: "Picture 1 of 4" in work.inside("progress")[1])
    before = session.inside("frames_shown")
    # With the small picture of what is being made the row grows, and its button moves.
    session.wait_for(lambda: work.inside("look_is_seen"))
    work.click("cancel")
    session.wait_for(lambda: work.inside("is_idle"), 30)
    assert len(work.inside("results")) < 4
    session.stroke(STROKE, step_ms=8)
    session.nijimi("wait_until_shown")
    assert session.inside("frames_shown") > before
    assert not work.inside("progress")[0]


def test_pictures_are_found_again_in_the_saved_file(work: _Generating, tmp_path: Path) -> None:
    session = work.session
    work.generate(2)
    session.wait_for(lambda: len(work.inside("kept")) == 2)
    before = work.inside("results")
    work.inside("forget_results")
    session.inside("reopen", path=str(tmp_path / "generated.kra"))
    session.wait_for(lambda: work.inside("results") == before)
    work.click_thumbnail(0, times=2)
    session.wait_for(lambda: "Nijimi: a red house" in session.layers())
    work.inside("clear_results")
    session.wait_for(lambda: work.inside("kept") == [])


def test_the_preview_docker_compares_the_picture_with_the_painting(
    work: _Generating, tmp_path: Path
) -> None:
    session = work.session
    work.inside("float_preview")
    try:
        session.inside("fill_layer", name="paint", x=0, y=0, width=512, height=512)
        work.generate(1)
        work.click_thumbnail(0)
        session.wait_for(lambda: work.inside("preview_shows") == [256, 256])
        before = work.inside("view_colour", part=0.3)
        work.click("view_compare")
        session.wait_for(lambda: work.inside("view_colour", part=0.3) != before)
        painted = work.inside("view_colour", part=0.3)
        assert work.inside("view_colour", part=0.7) != painted
        start, end = work.inside("view_point", part=0.5), work.inside("view_point", part=0.9)
        steps = [(start[0] + (end[0] - start[0]) * n / 10, start[1]) for n in range(11)]
        session.krita.pointer.stroke(steps)
        session.step("screenshot", path=str(tmp_path / "compared.png"))
        assert work.inside("view_colour", part=0.7) == painted
        work.click("view_compare")
    finally:
        work.inside("close_preview")
