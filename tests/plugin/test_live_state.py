"""What the status line says: one problem of each source, and only as long as it lasts."""

from __future__ import annotations

from nijimi.model.live_state import RETRY, LiveState


def test_the_newest_problem_is_told_and_then_the_one_before() -> None:
    state = LiveState()
    heard: list[str] = []
    state.changed.connect(lambda: heard.append(state.problem))
    state.tell("canvas", "Too large.", "Make it smaller.")
    state.tell("link", "No answer.", "", RETRY)
    assert (state.problem, state.remedy, state.line()) == ("No answer.", RETRY, "No answer.")
    state.forget("link")
    assert (state.problem, state.hint) == ("Too large.", "Make it smaller.")
    state.forget("link")
    assert heard == ["Too large.", "No answer.", "Too large."]


def test_what_has_a_problem_is_not_cleared_by_what_is_older() -> None:
    state = LiveState()
    state.tell("backend", "There is no such model.", "", revision=7)
    state.forget("backend", 6)
    assert state.problem == "There is no such model."
    state.forget("backend", 7)
    assert state.problem == ""


def test_a_problem_told_again_is_the_newer_changes_and_keeps_its_place() -> None:
    state = LiveState()
    heard: list[str] = []
    state.tell("backend", "Out of memory.", "", revision=3)
    state.tell("canvas", "Too large.", "")
    state.changed.connect(lambda: heard.append(state.problem))
    state.tell("backend", "Out of memory.", "", revision=9)
    assert (state.problem, heard) == ("Too large.", [])
    state.forget("backend", 5)
    state.forget("canvas")
    assert state.problem == "Out of memory."
    state.forget("backend")
    assert state.problem == ""
