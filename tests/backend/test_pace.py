"""Pace: the newest is always shown, nothing starves, and at rest nothing runs."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_backend.session.pace import REST_S, Pace, Work


def _live() -> Pace:
    return Pace(live=True)


@given(
    st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60),
    st.floats(0.05, 0.4),
    st.integers(1, 8),
)
@settings(max_examples=200)
def test_frames_keep_coming_and_the_newest_change_is_shown(
    gaps: list[float], frame_s: float, steps: int
) -> None:
    changes: list[float] = []
    at = 0.0
    for gap in gaps:
        at += gap
        changes.append(at)
    pace, now, given_up_in_a_row, worst = _live(), 0.0, 0, 0
    waiting = list(changes)
    finished_at = [0.0]
    while True:
        while waiting and waiting[0] <= now:
            pace.change(waiting.pop(0))
        work = pace.next_work(now)
        if work is None:
            wake = pace.wake_in_s(now)
            if not waiting and wake is None:
                break
            now = min([now + wake + 1e-9 if wake is not None else float("inf"), *waiting[:1]])
            continue
        started_with, gave_up = pace.changes, False
        for step in range(steps):
            while waiting and waiting[0] <= now:
                pace.change(waiting.pop(0))
            if pace.should_give_up(work, started_with, step / steps):
                gave_up = True
                break
            now += frame_s / steps
        if gave_up:
            pace.gave_up(work)
            given_up_in_a_row += work is Work.LIVE
            worst = max(worst, given_up_in_a_row)
        else:
            pace.finished(work, started_with)
            given_up_in_a_row = 0
            finished_at.append(now)
    assert worst <= 1
    assert pace.shown == pace.changes == len(changes)
    assert pace.refined == pace.changes
    busy = [b - a for a, b in itertools.pairwise(finished_at) if a >= changes[0]]
    assert all(gap <= 2.6 * frame_s + REST_S + 0.51 for gap in busy)


def test_a_refining_frame_comes_after_a_rest_and_then_nothing() -> None:
    pace = _live()
    pace.change(10.0)
    assert pace.next_work(10.0) is Work.LIVE
    pace.finished(Work.LIVE, 1)
    assert pace.next_work(10.1) is None
    assert pace.wake_in_s(10.1) is not None
    assert pace.next_work(10.0 + REST_S) is Work.REFINE
    pace.finished(Work.REFINE, 1)
    assert pace.next_work(99.0) is None
    assert pace.wake_in_s(99.0) is None


def test_a_refining_frame_is_given_up_at_once_when_something_changes() -> None:
    pace = _live()
    pace.change(0.0)
    pace.finished(Work.LIVE, 1)
    assert not pace.should_give_up(Work.REFINE, 1, 0.9)
    pace.change(1.0)
    assert pace.should_give_up(Work.REFINE, 1, 0.9)


def test_a_live_frame_is_given_up_early_but_not_late_and_not_twice() -> None:
    pace = _live()
    pace.change(0.0)
    pace.change(0.1)
    assert pace.should_give_up(Work.LIVE, 1, 0.25)
    assert not pace.should_give_up(Work.LIVE, 1, 0.5)
    pace.gave_up(Work.LIVE)
    assert not pace.should_give_up(Work.LIVE, 1, 0.0)


def test_live_off_and_cancel_stop_all_work_until_a_change() -> None:
    pace = _live()
    pace.change(0.0)
    pace.cancel()
    assert pace.next_work(0.0) is None
    assert pace.should_give_up(Work.LIVE, 1, 0.9)
    pace.change(1.0)
    assert pace.next_work(1.0) is Work.LIVE
    pace.live = False
    assert pace.next_work(1.0) is None


def test_a_change_during_failed_work_is_not_lost() -> None:
    pace = _live()
    pace.change(0.0)
    started_with = pace.changes
    pace.change(0.5)
    pace.failed(started_with)
    assert pace.next_work(0.6) is Work.LIVE
    pace.failed(2)
    assert pace.next_work(99.0) is None


def test_without_refinement_a_shown_change_is_the_end() -> None:
    pace = Pace(live=True, refine=False)
    pace.change(0.0)
    pace.finished(Work.LIVE, 1)
    assert pace.next_work(99.0) is None
