"""Whatever fails or happens, a document is as it would be without us, but for what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.document_fuzz.plan import make_plan
from benchmarks.document_fuzz.run import first_difference, run_seed

from .session import Session

_FAULTS = Path(__file__).with_name("inside_faults.py")


def _inside(session: Session, name: str, /, **arguments: Any) -> Any:
    return session.krita.call(_FAULTS, name, **arguments)


def test_a_fault_in_the_middle_of_apply_leaves_the_document_as_it_was(session: Session) -> None:
    session.go_live()
    session.stroke()
    session.nijimi("wait_until_shown")
    before = _inside(session, "everything")
    _inside(session, "break_function", module="layers", name="write_picture", after=0)
    try:
        problem = _inside(session, "apply_now")
    finally:
        _inside(session, "mend_function", module="layers", name="write_picture")
    assert "The document is as it was." in problem
    assert _inside(session, "everything") == before
    assert _inside(session, "entries")[-1] == ["add a layer with a picture", "taken back"]
    # The next one works, and is one step of undo.
    assert _inside(session, "apply_now") == ""
    assert len(_inside(session, "everything")["layers"]) == len(before["layers"]) + 1
    session.inside("action", name="edit_undo")
    assert _inside(session, "everything") == before


def test_a_fault_while_the_preview_is_written_leaves_no_preview(session: Session) -> None:
    before = _inside(session, "everything")
    session.nijimi("set_values", show_on_canvas="layer")
    session.go_live()
    session.wait_for(lambda: "Nijimi preview" in session.layers())
    _inside(session, "break_function", module="layers", name="scaled_pixels", after=0)
    try:
        session.nijimi("set_values", seed=77)
        session.wait_for(lambda: "Nijimi preview" not in session.layers())
        assert ["write the preview", "taken back"] in _inside(session, "entries")
        session.nijimi("set_values", live=False)
    finally:
        _inside(session, "mend_function", module="layers", name="scaled_pixels")
    assert _inside(session, "everything") == before


def test_a_fault_while_people_are_added_takes_them_back(session: Session) -> None:
    session.add_person("standing")
    before = _inside(session, "everything")
    _inside(session, "break_function", module="pose_layer", name="read_people", after=0)
    try:
        problem = _inside(session, "add_person_in_vain", preset="sitting")
        assert "add people to the pose" in problem
    finally:
        _inside(session, "mend_function", module="pose_layer", name="read_people")
    after = _inside(session, "everything")
    assert after["layers"] == before["layers"]
    assert ["add people to the pose", "taken back"] in _inside(session, "entries")


def test_a_preview_that_a_crash_left_goes_although_live_is_off(session: Session) -> None:
    before = session.layers()
    session.step("close_documents")
    session.step("new_document")
    assert "Nijimi preview" in _inside(session, "leave_a_preview")
    # Seen with the next look at a document that comes to the front.
    session.inside("open_second_document")
    session.inside("show_document", width=512)
    session.wait_for(lambda: session.layers() == before)


@pytest.mark.timeout(600)
def test_a_short_fuzz_run_is_as_without_nijimi(tmp_path: Path) -> None:
    """The long one: ``python -m benchmarks documents``."""
    outcome = run_seed(1, 150, tmp_path)
    assert outcome.failure == ""
    assert outcome.operations == 151
    assert outcome.applied > 0
    assert len(outcome.counts) > 10


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert make_plan(3, 100) == make_plan(3, 100)
    assert make_plan(3, 100) != make_plan(4, 100)
    assert not {"undo", "redo"} & {step["do"] for step in make_plan(3, 300, preview_layer=True)}


def _record(**values: Any) -> dict[str, Any]:
    record = {"n": 0, "do": "stroke", "digest": ["a"], "undo": 1, "modal": "", "layers": [["x"]]}
    return {**record, **values}


@pytest.mark.parametrize(
    ("watched", "words"),
    [
        (_record(digest=["b"], layers=[["y"]]), "x | y"),
        (_record(undo=2), "undo stands at 2"),
        (_record(modal="QMessageBox"), "a dialog stands open: QMessageBox"),
    ],
)
def test_a_difference_of_any_kind_is_found(watched: dict[str, Any], words: str) -> None:
    assert first_difference([_record()], [_record(), _record()]) == ""
    assert words in first_difference([_record()], [watched, _record()])
    assert "operations" in first_difference([_record()], [_record()])
