"""What fails half-way is taken back, and everything of ours is on record."""

from __future__ import annotations

import logging

import pytest
from nijimi.canvas.journal import Change, Journal
from nijimi.canvas.room import ChangeTakenBack


def test_a_change_that_worked_is_on_record_and_stays() -> None:
    journal, layers = Journal(), list[str]()
    with journal.change("doc", "add a layer") as change:
        layers.append("ours")
        change.undo_by(layers.clear)
    assert layers == ["ours"]
    (entry,) = journal.entries
    assert (entry.document, entry.what, entry.outcome) == ("doc", "add a layer", "done")


def _fail(journal: Journal, layers: list[str], *, stubborn: bool = False) -> None:
    def never(*_: object) -> None:
        raise RuntimeError("wrapped C/C++ object has been deleted")

    with journal.change("doc", "add two layers") as change:
        for name in ("first", "second"):
            layers.append(name)
            change.undo_by(lambda name=name: layers.remove(name))
        if stubborn:
            change.undo_by(never)
        never()


def test_a_change_that_fails_is_taken_back_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    journal, layers = Journal(), ["the painter's"]
    with caplog.at_level(logging.INFO), pytest.raises(ChangeTakenBack) as caught:
        _fail(journal, layers)
    assert layers == ["the painter's"]
    assert journal.entries[-1].outcome == "taken back"
    assert "The document is as it was." in caught.value.sentence
    assert "RuntimeError" in caplog.text


def test_what_cannot_be_taken_back_does_not_stop_the_rest_and_is_said() -> None:
    journal, layers = Journal(), list[str]()
    with pytest.raises(ChangeTakenBack) as caught:
        _fail(journal, layers, stubborn=True)
    assert layers == []
    assert journal.entries[-1].outcome == "stuck"
    assert "could not be undone" in caught.value.sentence
    assert caught.value.action


def test_the_last_step_is_taken_back_first() -> None:
    order: list[int] = []
    change = Change()
    for n in range(3):
        change.undo_by(lambda n=n: order.append(n))
    assert change.take_back()
    assert order == [2, 1, 0]
    assert change.take_back(), "nothing is left"


def test_a_journal_of_a_long_day_stays_small() -> None:
    journal = Journal()
    for n in range(5000):
        with journal.change("doc", f"change {n}"):
            pass
    assert len(journal.entries) == 200
    assert journal.entries[-1].what == "change 4999"
