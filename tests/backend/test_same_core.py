"""Threads that are woken: where they go on, and that they are free again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from nijimi_backend.session import same_core
from nijimi_backend.session.same_core import SameCore

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="threads are placed on Linux only")


def _cores() -> set[int]:
    return os.sched_getaffinity(0)


@pytest.fixture
def sleeper() -> Any:
    """A thread of its own, which does what it is given."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda work: pool.submit(work).result(5.0)


Sleeper = Callable[[Callable[[], Any]], Any]


@linux_only
def test_who_is_called_goes_on_here_and_is_free_afterwards(sleeper: Sleeper) -> None:
    core, before = SameCore(), sleeper(_cores)
    sleeper(core.sleeper)
    here = min(_cores())
    own = _cores()
    os.sched_setaffinity(0, {here})
    try:
        core.call()
    finally:
        os.sched_setaffinity(0, own)
    assert sleeper(_cores) == {here}
    sleeper(core.free)
    assert sleeper(_cores) == before
    assert _cores() == own, "who calls goes where it likes"


@linux_only
def test_two_calls_before_it_wakes_leave_it_as_free_as_one(sleeper: Sleeper) -> None:
    core, before = SameCore(), sleeper(_cores)
    sleeper(core.sleeper)
    core.call()
    core.call()
    sleeper(core.free)
    assert sleeper(_cores) == before
    sleeper(core.free)
    assert sleeper(_cores) == before


def test_nobody_is_called_who_did_not_say_that_it_sleeps() -> None:
    core = SameCore()
    before = _cores() if sys.platform == "linux" else None
    core.call()
    core.free()
    assert before is None or _cores() == before


@linux_only
def test_a_system_that_refuses_is_not_asked_again(
    sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, asked = SameCore(), []

    def refuse(thread_id: int, _cores: set[int]) -> None:
        asked.append(thread_id)
        raise PermissionError(1, "Operation not permitted")

    sleeper(core.sleeper)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    core.call()
    core.call()
    core.free()
    assert len(asked) == 1


@linux_only
def test_cores_that_are_gone_when_it_wakes_do_no_harm(
    sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, placed = SameCore(), []
    place = os.sched_setaffinity

    def refuse_the_second(thread_id: int, cores: set[int]) -> None:
        placed.append(cores)
        if len(placed) == 2:
            raise OSError(22, "Invalid argument")
        place(thread_id, cores)

    sleeper(core.sleeper)
    monkeypatch.setattr(os, "sched_setaffinity", refuse_the_second)
    core.call()
    sleeper(core.free)
    core.call()
    sleeper(core.free)
    assert len(placed) == 2, "it is left alone from then on"


def test_elsewhere_nothing_is_done(sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_core, "glibc", lambda _name: None)
    core, asked = SameCore(), []
    monkeypatch.setattr(os, "sched_setaffinity", lambda *given: asked.append(given), raising=False)
    sleeper(core.sleeper)
    core.call()
    sleeper(core.free)
    assert asked == []
