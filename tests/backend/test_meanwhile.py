"""While a model is read the one before paints on, and what it painted is painted anew."""

from __future__ import annotations

import time

import pytest
from nijimi_backend.errors import BadInput
from nijimi_backend.session.meanwhile import Meanwhile
from nijimi_protocol.messages import Progress

from tests.support.worker_bench import Bench, until


@pytest.fixture
def loading() -> Bench:
    """``good`` paints, and ``other`` has been asked for and is read."""
    bench = Bench()
    bench.want("good")
    until(lambda: len(bench.finished) == 1)
    bench.good = bench.engine  # type: ignore[attr-defined]
    bench.tensors = 8
    bench.want("other")
    until(lambda: bench.opened == ["good", "other"])
    # The first picture comes when loading has taken longer than a blink.
    time.sleep(0.15)
    return bench


def test_the_model_before_paints_while_another_is_read(loading: Bench) -> None:
    loading.may_read_on.release()
    until(lambda: len(loading.finished) == 2)
    assert loading.finished[1].final is False
    assert loading.finished[1].revision == 2
    loading.want("other")
    time.sleep(0.05)
    loading.may_read_on.release()
    until(lambda: len(loading.finished) == 3)
    assert loading.finished[2].revision == 3
    assert loading.engine is loading.good  # type: ignore[attr-defined]
    for _ in range(6):
        loading.may_read_on.release()
    until(lambda: len(loading.finished) == 4)
    loading.worker.stop()
    assert loading.finished[3].revision == 3
    assert loading.finished[3].final is True
    assert [request.params.seed for request in loading.engine.requests] == [3]


def test_a_state_is_painted_once_by_the_model_before(loading: Bench) -> None:
    for _ in range(7):
        loading.may_read_on.release()
        time.sleep(0.01)
    until(lambda: len(loading.finished) == 2)
    loading.may_read_on.release()
    until(lambda: len(loading.finished) == 3)
    loading.worker.stop()
    assert [finished.revision for finished in loading.finished] == [1, 2, 2]


def test_progress_is_told_once_a_step(loading: Bench) -> None:
    for _ in range(8):
        loading.may_read_on.release()
    until(lambda: len(loading.finished) >= 3)
    loading.worker.stop()
    steps = [event.done for event in loading.told if isinstance(event, Progress)]
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", [BadInput("No.", ""), ValueError("a fault of ours")])
def test_a_model_that_cannot_paint_it_is_not_asked_again(
    loading: Bench, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    asked: list[int] = []

    def fail(*_: object) -> None:
        asked.append(1)
        raise fault

    monkeypatch.setattr(loading.engine, "render", fail)
    for n in range(8):
        loading.want("other")
        loading.may_read_on.release()
        time.sleep(0.01 if n < 7 else 0)
    until(lambda: loading.engine.model.name == "other" and len(loading.finished) == 2)
    loading.worker.stop()
    assert asked == [1]
    assert loading.errors() == []


def test_painting_takes_half_of_the_time_at_most() -> None:
    turns = Meanwhile(began_s=10.0)
    assert not turns.may_render(10.05)
    assert turns.may_render(10.2)
    turns.rendered(10.2, 12.2)
    assert not turns.may_render(14.1)
    assert turns.may_render(14.2)
    turns.gave_up = True
    assert not turns.may_render(99.0)
