"""Animations in real Krita: asked for in the menu, rendered beside the canvas, one undo step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .session import Session

_HERE = Path(__file__).with_name("inside_animation.py")
RED, GREEN, BLUE = [200, 30, 30], [30, 160, 60], [40, 60, 200]
_MADE = "Nijimi: a red house"


def _inside(session: Session, name: str, /, **arguments: Any) -> Any:
    return session.krita.call(_HERE, name, **arguments)


def _render(session: Session) -> None:
    session.inside("action", name="nijimi_animation")
    session.wait_for(lambda: _inside(session, "dialog_fields") is not None)
    session.krita.pointer.click(_inside(session, "dialog_button", name="nijimi_animation_render"))


@pytest.mark.parametrize("live", [True, False])
def test_frames_become_an_animated_layer_in_one_step_of_undo(
    session: Session, tmp_path: Path, live: bool
) -> None:
    drawn = _inside(session, "draw_frames", colours=[RED, GREEN, BLUE], apart=2)
    assert drawn == [0, 2, 4]
    if live:
        session.go_live()
    session.nijimi("set_values", prompt="a red house", seed=7, seed_locked=True)
    before = _inside(session, "layers")
    session.inside("action", name="nijimi_animation")
    session.wait_for(lambda: _inside(session, "dialog_fields") is not None)
    assert _inside(session, "dialog_fields") == [0, 4, 30]
    session.step("screenshot", path=str(tmp_path / "questions.png"))
    session.krita.pointer.click(_inside(session, "dialog_button", name="nijimi_animation_render"))
    session.wait_for(lambda: _inside(session, "progress") is not None)
    session.wait_for(lambda: (_inside(session, "progress") or [9])[0] >= 1, 60)
    session.step("screenshot", path=str(tmp_path / "progress.png"))
    session.wait_for(lambda: not _inside(session, "is_running"), 60)
    session.wait_for(lambda: len(_inside(session, "layers")) == len(before) + 1)
    session.inside("wait_for_rest")
    made = _inside(session, "layers")
    ((name, frames),) = [each for each in made if each not in before]
    assert name == _MADE
    assert frames[:5] == [0, 1, 2, 3, 4]
    assert session.inside("problems") == ""
    seen = _inside(session, "frames_of", name=_MADE)
    assert len({str(frame) for frame in seen[:5]}) >= 3, "the drawings gave one picture"
    assert _inside(session, "now") == 0, "the painter's document was moved through time"
    session.step("screenshot", path=str(tmp_path / "animation.png"))
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: _inside(session, "layers") == before)


def test_cancelling_leaves_the_document_as_it_was(session: Session) -> None:
    _inside(session, "draw_frames", colours=[RED, GREEN, BLUE], apart=3)
    session.nijimi("set_values", prompt="a red house", final_steps=8)
    before, undo = _inside(session, "layers"), _inside(session, "undo_text")
    _render(session)
    session.wait_for(lambda: (_inside(session, "progress") or [0])[0] >= 1, 60)
    session.inside("action", name="nijimi_cancel")
    session.wait_for(lambda: not _inside(session, "is_running"))
    session.inside("wait_for_rest")
    assert _inside(session, "layers") == before
    assert _inside(session, "undo_text") == undo
    assert session.inside("problems") == ""


def test_a_document_without_frames_says_what_is_missing(session: Session) -> None:
    session.inside("action", name="nijimi_animation")
    assert "No layer of this document is animated." in session.inside("problems")
