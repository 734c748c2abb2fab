"""Packed functions that become quicker while they are used."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.frozen import WORTH_CALLS, frozen, warm_up_steps
from nijimi_backend.engine.openvino_net import openvino_function
from nijimi_backend.engine.quickened import (
    LEAST_TIMED,
    QUICKENING_THREAD,
    TRIAL_CALLS,
    Quickener,
)
from nijimi_backend.engine.recorded import Pauses
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.models.device import Device
from nijimi_backend.models.library import open_library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams

from tests.backend.test_frozen import Two
from tests.backend.test_openvino_net import needs_openvino

ONE = torch.ones(1)


class Clock:
    """Functions say how long they take."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now_s

    def taking(self, seconds: float, value: float) -> Callable[..., torch.Tensor]:
        def run(*_inputs: torch.Tensor) -> torch.Tensor:
            self.now_s += seconds
            return torch.full((1,), value)

        return run


def called(function: Callable[..., torch.Tensor], times: int) -> list[float]:
    return [float(function(ONE)) for _ in range(times)]


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def no_quicken_thread() -> bool:
    return all(thread.name != QUICKENING_THREAD for thread in threading.enumerate())


@pytest.mark.parametrize(("seconds", "stays"), [(0.5, 2.0), (0.98, 1.0), (2.0, 1.0)])
def test_the_quicker_function_stays_after_a_trial(seconds: float, stays: float) -> None:
    clock = Clock()
    other = clock.taking(seconds, 2.0)
    quickener = Quickener(lambda _traced, _examples, _threads: other, clock, 0.0)
    function = quickener.quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    assert called(function, WORTH_CALLS) == [1.0] * WORTH_CALLS
    eventually(no_quicken_thread)
    assert called(function, TRIAL_CALLS) == [2.0] * TRIAL_CALLS
    assert called(function, 3) == [stays] * 3


def test_nothing_is_made_for_a_size_that_is_soon_left() -> None:
    asked: list[int] = []
    clock = Clock()

    def make(*_order: Any) -> Callable[..., Any]:
        asked.append(1)
        return clock.taking(0.1, 2.0)

    function = Quickener(make, clock, 0.0).quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    called(function, WORTH_CALLS - 1)
    assert no_quicken_thread()
    assert not asked


def noted(clock: Clock) -> tuple[Callable[..., Callable[..., Any]], list[float]]:
    """What makes a quicker function, and when it did."""
    made_s: list[float] = []

    def make(*_order: Any) -> Callable[..., Any]:
        made_s.append(time.monotonic())
        return clock.taking(0.1, 2.0)

    return make, made_s


def painting(call: Callable[[], object], count: int) -> float:
    """Calls a tenth of a second apart; when the last one ended."""
    for _ in range(count):
        time.sleep(0.1)
        call()
    return time.monotonic()


def test_it_is_made_when_the_painter_pauses() -> None:
    """Making it takes all cores: with the pen down pictures would stand still."""
    clock = Clock()
    make, made_s = noted(clock)
    function = Quickener(make, clock, 0.4).quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    called(function, WORTH_CALLS)
    last_s = painting(lambda: called(function, 1), 10)
    assert not made_s
    eventually(no_quicken_thread)
    assert made_s[0] - last_s >= 0.35
    assert called(function, 1) == [2.0]


def test_what_is_not_used_any_more_is_not_waited_for() -> None:
    """The trace is freed with it, and what was in the queue is never made."""
    clock, goes_on, asked = Clock(), threading.Event(), list[bytes]()

    def make(traced: bytes, _examples: Any, _threads: int) -> Callable[..., Any]:
        asked.append(traced)
        goes_on.wait(20)
        return clock.taking(0.1, 2.0)

    quickener = Quickener(make, clock, 0.3)
    wishes = {
        trace: quickener.quickened(clock.taking(1.0, 1.0), trace, (ONE,))
        for trace in (b"one", b"other")
    }
    for trace in wishes:
        called(wishes[trace], WORTH_CALLS)
    eventually(lambda: len(asked) == 1)
    assert not no_quicken_thread()
    del wishes[b"other" if asked == [b"one"] else b"one"]
    goes_on.set()
    eventually(no_quicken_thread)
    assert len(asked) == 1


def test_another_size_that_is_painted_is_no_pause() -> None:
    clock = Clock()
    make, made_s = noted(clock)
    quickener = Quickener(make, clock, 0.4)
    left = quickener.quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    painted = quickener.quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    called(left, WORTH_CALLS)
    last_s = painting(lambda: called(painted, 1), 8)
    assert not made_s
    eventually(no_quicken_thread)
    assert made_s[0] - last_s >= 0.35


def test_nothing_is_timed_while_something_else_is_made() -> None:
    """Else the one that shared the device would seem slow."""
    clock, pauses, goes_on = Clock(), Pauses(), threading.Event()
    quickener = Quickener(lambda *_order: clock.taking(0.5, 2.0), clock, 0.0, pauses)
    function = quickener.quickened(clock.taking(1.0, 1.0), b"", (ONE,))

    def make_something_else() -> None:
        with pauses.alone() as is_alone:
            assert is_alone
            goes_on.wait(20)

    busy = threading.Thread(target=make_something_else)
    busy.start()
    called(function, 2 * WORTH_CALLS)
    assert clock.reads == 0
    goes_on.set()
    busy.join()
    called(function, LEAST_TIMED - 1)
    assert no_quicken_thread()
    called(function, 1)
    eventually(no_quicken_thread)
    assert called(function, 1) == [2.0]


@pytest.mark.parametrize("where", ["made", "called"])
def test_where_the_other_fails_torch_s_function_serves_on(where: str) -> None:
    clock = Clock()

    def broken(*_inputs: Any) -> Any:
        raise RuntimeError("no such operation")

    make = broken if where == "made" else lambda _traced, _examples, _threads: broken
    function = Quickener(make, clock, 0.0).quickened(clock.taking(1.0, 1.0), b"", (ONE,))
    called(function, WORTH_CALLS)
    eventually(no_quicken_thread)
    assert called(function, 10) == [1.0] * 10


def test_the_model_s_own_size_is_made_quicker_before_the_first_stroke() -> None:
    """By the warm-up; without a quicker function to come, that is one step only."""
    asked: list[torch.Size] = []

    def make(_traced: bytes, examples: tuple[torch.Tensor, ...], _threads: int) -> Any:
        asked.append(examples[0].shape)
        raise RuntimeError("seen enough")

    engine = open_engine(device="cpu", pack=Quickener(make, rest_s=0.0).pack)
    eventually(lambda: bool(asked) and no_quicken_thread())
    assert asked == [torch.Size([1, 4, 32, 32])]
    unet = engine._bundle.unet  # pyright: ignore[reportPrivateUsage]
    assert warm_up_steps(unet, frozen, on_gpu=False) == 1


class Counted(Two):
    """Says how often its own Python was run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return super().forward(x, when)


def always_quicker() -> Callable[[], float]:
    """A clock by which each call is quicker than the one before."""
    ticks = iter(range(1_000_000))
    return lambda: -(float(next(ticks)) ** 2)


@pytest.mark.parametrize("other", ["none", "broken", "slow"])
def test_nothing_is_packed_while_a_painter_waits(other: str) -> None:
    """Not at the first frame with a control, say: the network itself serves until a pause."""
    made_s: list[float] = []

    def make(*_order: Any) -> Callable[..., Any]:
        made_s.append(time.monotonic())
        if other == "broken":
            raise RuntimeError("no such operation")
        return lambda *_inputs: time.sleep(0.1)

    quickener = Quickener(None if other == "none" else make, always_quicker(), 0.4)
    quickener.wait_for_pauses()
    torch.manual_seed(0)
    network = Counted().eval()
    inputs = (torch.randn(1, 4, 16, 16), torch.tensor(7))
    with torch.inference_mode():
        expected = network(*inputs)
        function = quickener.pack(network, inputs)
        assert network.calls == 1
        for n in range(WORTH_CALLS + 8):
            function(*inputs)
            assert network.calls == n + 2
            time.sleep(0.03)
        assert not made_s
        eventually(no_quicken_thread)
        assert len(made_s) == (other != "none")
        # What torch packed: the slow one was tried beside it, in the pause.
        calls = network.calls
        for _ in range(TRIAL_CALLS + 3):
            for made, true in zip(function(*inputs), expected, strict=True):
                assert torch.allclose(made, true, atol=1e-5)
        assert network.calls == calls


class Listening(Two):
    """Is set up for each frame, as a UNet is for what it listens to beside its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.strength, self.is_current = 1.0, True

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(self.strength * x, when)


@pytest.mark.parametrize("why", ["a frame is made", "it is set up for another one"])
def test_nothing_is_traced_while_the_network_is_set_up_for_something_else(why: str) -> None:
    quickener = Quickener(None, always_quicker(), 0.0)
    quickener.wait_for_pauses()
    torch.manual_seed(0)
    network = Listening().eval()
    inputs = (torch.randn(1, 4, 16, 16), torch.tensor(7))
    with torch.inference_mode():
        expected = network(*inputs)[0]
        function = quickener.pack(network, inputs)
        network.is_current = why == "a frame is made"
        with quickener.at_work() if network.is_current else nullcontext():
            network.strength = 3.0
            called_with = [function(*inputs) for _ in range(WORTH_CALLS)]
            time.sleep(0.4)
            assert not no_quicken_thread(), "it waits"
            assert torch.allclose(called_with[-1][0], network(*inputs)[0])
            network.strength, network.is_current = 1.0, True
        eventually(no_quicken_thread)
        network.strength = 5.0
        made = [function(*inputs)[0] for _ in range(TRIAL_CALLS + 3)]
        assert torch.allclose(made[-1], expected, atol=1e-5)


def test_what_is_not_worth_packing_stays_as_it_is() -> None:
    quickener = Quickener(None)
    quickener.wait_for_pauses()
    halved = Two().half()
    assert quickener.pack(halved, (torch.zeros(1, 4, 8, 8).half(), torch.tensor(1))) is halved


@needs_openvino
@pytest.mark.parametrize("exact", [True, False])
def test_pictures_stay_the_same_when_openvino_takes_over(
    caplog: pytest.LogCaptureFixture, exact: bool
) -> None:
    """The embedded model itself: at most one of 255 levels, by rounding; by 40 dB where the
    processor takes bfloat16 for products."""
    library = open_library(None)
    device = Device(torch_device=torch.device("cpu"), dtype=torch.float32, title="CPU")
    bundle = load_model(library.find_model(""), device)
    made: list[int] = []

    def make(traced: bytes, examples: tuple[torch.Tensor, ...], threads: int) -> Any:
        function = openvino_function(traced, examples, threads, exact=exact)
        made.append(len(examples))
        return function

    # OpenVINO always wins, so that it is surely what the last picture is of.
    pack = Quickener(make, always_quicker()).pack
    engine = Engine(bundle, library, pack)
    canvas = np.full((256, 256, 4), 255, dtype=np.uint8)
    canvas[100:, :, :3] = (60, 140, 70)
    params = RenderParams(prompt="a house by a lake", num_inference_steps=4, seed=3, strength=0.5)

    def render(version: int) -> npt.NDArray[np.int64]:
        """The same canvas, encoded anew."""
        request = FrameRequest(
            params=params, extent=Extent(256, 256), canvas=canvas, canvas_version=version
        )
        return engine.render(request).pixels.astype(np.int64)

    # The encoder is packed at its eighth picture only, and then has to prove its size again.
    before = WORTH_CALLS + 8
    pictures = [render(n) for n in range(before)]
    eventually(lambda: len(made) == 2 and no_quicken_thread(), 60.0)
    with caplog.at_level(logging.INFO, logger="nijimi_backend.engine.quickened"):
        pictures += [render(before + n) for n in range(TRIAL_CALLS + 1)]
    # The UNet may have had its trial before.
    assert "by OpenVINO, which stays" in caplog.text
    assert pictures[0].std() > 1
    for picture in pictures[1:]:
        difference = picture - pictures[0]
        if exact:
            assert abs(difference).max() <= 1
        assert (difference**2).mean() <= 255**2 / 10**4


ENDS_EARLY = """
import time
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.engine.quickened import QuickPack

engine = open_engine(device="cpu", pack=QuickPack())
# Its own size has been warmed up, so that it is being made now.
time.sleep(1.3)
print("the end")
"""


@needs_openvino
def test_a_process_may_end_while_openvino_is_at_work() -> None:
    """Cut off in its middle it would end by a signal, and a report of a crash would be left."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENDS_EARLY], capture_output=True, text=True, check=False, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, "the end\n"), done.stderr[-500:]
    assert time.monotonic() - began < 100
