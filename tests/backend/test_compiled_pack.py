"""How networks are packed on a card: recorded, then compiled and recorded anew, by trial."""

# What is let go is asked of the functions themselves.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nijimi_backend.engine.compiled import CompiledPack
from nijimi_backend.engine.frozen import WORTH_CALLS
from nijimi_backend.engine.quickened import TRIAL_CALLS, Quickened, Quickener
from nijimi_backend.engine.recorded import Pauses, Recorder

from tests.backend.test_quickened import Clock, eventually, no_quicken_thread
from tests.backend.test_recorded import stand_in


class Slow(torch.nn.Module):
    """Takes a second by the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.log: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._clock.now_s += 1.0
        self.log.append("plain")
        return x * 2.0


class Bench:
    """A network, and a pack that records and compiles for a card that is not there.

    What is compiled takes ``seconds`` and multiplies by ``factor``.
    """

    def __init__(
        self, seconds: float = 0.5, factor: float = 2.0, *, rest_s: float = 0.0, can: bool = True
    ) -> None:
        self.clock, self.recorded = Clock(), 0
        self.network = Slow(self.clock)
        self.compiled: list[torch.Size] = []
        self.alive: list[weakref.ref[Any]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.fails = False
        self._seconds, self._factor = seconds, factor
        pauses = Pauses()
        self.quickener = Quickener(None, self.clock, rest_s, pauses, "torch.compile")
        self.pack = CompiledPack(
            Recorder(self._record, pauses), self.quickener.later, self._compile, lambda _device: can
        )

    def _record(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.recorded += 1
        return stand_in(work)

    def _compile(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        assert network is not self.network
        self.compiled.append(inputs[0].shape)
        assert self.goes_on.wait(20)
        if self.fails:
            raise RuntimeError("no C compiler")
        clock, seconds, factor, log = self.clock, self._seconds, self._factor, self.network.log

        def run(x: torch.Tensor) -> torch.Tensor:
            clock.now_s += seconds
            log.append("compiled")
            return x * factor

        self.alive.append(weakref.ref(run))
        return run

    def call(self, function: Callable[..., Any], times: int, size: int = 3) -> list[str]:
        """What ran in the last call; each gives what the network gives."""
        for n in range(times):
            self.network.log.clear()
            x = torch.full((size,), float(n + 1))
            assert torch.equal(function(x), x * 2.0)
        return self.network.log


def waits_until_made(bench: Bench, function: Callable[..., Any], size: int = 3) -> None:
    bench.call(function, WORTH_CALLS, size)
    eventually(no_quicken_thread)


@pytest.mark.parametrize(("seconds", "stays"), [(0.5, "compiled"), (0.98, "plain"), (2.0, "plain")])
def test_the_quicker_recording_stays_and_the_slower_goes(seconds: float, stays: str) -> None:
    bench = Bench(seconds)
    function = bench.pack.pack(bench.network, (torch.ones(3),))
    assert isinstance(function, Quickened)
    plain = weakref.ref(function._plain)
    waits_until_made(bench, function)
    assert bench.recorded == 1
    # Recorded with its first call, and compared with the network.
    assert bench.call(function, 1) == ["plain", "compiled", "compiled"]
    assert bench.recorded == 2
    assert bench.call(function, TRIAL_CALLS - 1) == ["compiled"]
    assert bench.call(function, 3) == [stays]
    assert bench.recorded == 2
    assert (bench.alive[0]() is None, plain() is None) == (stays == "plain", stays == "compiled")


def test_what_gives_something_else_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(0.1, factor=2.2)
    function = bench.pack.pack(bench.network, (torch.ones(3),))
    waits_until_made(bench, function)
    # Each result is compared within.
    bench.call(function, 5)
    assert bench.recorded == 2
    assert "gives something else" in caplog.text


def test_nothing_is_compiled_for_a_size_that_is_soon_left() -> None:
    bench = Bench()
    function = bench.pack.pack(bench.network, (torch.ones(3),))
    bench.call(function, WORTH_CALLS - 1)
    assert no_quicken_thread()
    assert not bench.compiled


def test_frames_are_served_while_it_is_compiled_and_nothing_is_recorded() -> None:
    bench = Bench()
    function = bench.pack.pack(bench.network, (torch.ones(3),))
    other = bench.pack.pack(bench.network, (torch.ones(5),))
    bench.goes_on.clear()
    bench.call(function, WORTH_CALLS)
    eventually(lambda: bool(bench.compiled))
    read_s = bench.clock.reads
    bench.call(function, 5)
    bench.call(other, WORTH_CALLS, 5)
    # Neither timed, nor recorded.
    assert (bench.clock.reads, bench.recorded) == (read_s, 1)
    bench.goes_on.set()
    eventually(no_quicken_thread)
    bench.call(other, 1, 5)
    assert bench.recorded == 2


def test_a_trial_waits_for_what_else_is_compiled() -> None:
    """Beside that neither would be timed as it is."""
    bench = Bench(rest_s=0.05)
    first, second = (bench.pack.pack(bench.network, (torch.ones(n),)) for n in (3, 5))
    waits_until_made(bench, first)
    bench.goes_on.clear()
    bench.call(second, WORTH_CALLS, 5)
    eventually(lambda: len(bench.compiled) == 2)
    reads = bench.clock.reads
    assert bench.call(first, 3) == ["plain"]
    assert bench.clock.reads == reads
    bench.goes_on.set()
    eventually(no_quicken_thread)
    bench.call(first, 1)
    assert bench.call(first, 1) == ["compiled"]


def test_after_the_decision_nothing_waits_for_the_device() -> None:
    bench = Bench()
    function = bench.pack.pack(bench.network, (torch.ones(3),))
    waits_until_made(bench, function)
    bench.call(function, TRIAL_CALLS)
    reads = bench.clock.reads
    bench.call(function, 5)
    assert bench.clock.reads == reads > 0


def test_where_it_cannot_be_compiled_the_recording_stays_and_no_other_size_is_tried() -> None:
    bench = Bench()
    bench.fails = True
    function, waiting = (bench.pack.pack(bench.network, (torch.ones(n),)) for n in (3, 4))
    waits_until_made(bench, function)
    reads = bench.clock.reads
    assert bench.call(function, 5) == ["plain"]
    assert bench.clock.reads == reads
    waits_until_made(bench, waiting, 4)
    assert len(bench.compiled) == 1
    assert not isinstance(bench.pack.pack(bench.network, (torch.ones(5),)), Quickened)


def test_once_it_could_a_failure_is_of_one_size() -> None:
    bench = Bench()
    waits_until_made(bench, bench.pack.pack(bench.network, (torch.ones(3),)))
    bench.fails = True
    kept = bench.pack.pack(bench.network, (torch.ones(4),))
    waits_until_made(bench, kept, 4)
    assert isinstance(bench.pack.pack(bench.network, (torch.ones(5),)), Quickened)


def test_what_cannot_pay_is_only_recorded() -> None:
    bench = Bench(can=False)
    assert not isinstance(bench.pack.pack(bench.network, (torch.ones(3),)), Quickened)
    listening = Bench()
    listening.network.__dict__["is_pure"] = False
    function = listening.pack.pack(listening.network, (torch.ones(3),))
    assert not isinstance(function, Quickened)
    listening.call(function, WORTH_CALLS)
    assert listening.recorded == 1
