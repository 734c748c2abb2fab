"""Networks whose work is recorded once and replayed: rules on the CPU, the real one on a card."""

# The rules of a denoiser are asked without pictures.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.denoiser import Denoiser
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.recorded import WORTH_CALLS, Pauses, Recorder
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import open_library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.placement import Measure
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams


class Network(torch.nn.Module):
    """Two inputs, two results."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return self.layer(x) * when, x + when


def tensors(made: Any) -> list[torch.Tensor]:
    return [made] if isinstance(made, torch.Tensor) else list(made)


def stand_in(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """As a CUDA graph does: the same places are read, and the same ones are written."""
    made = work()

    def replay() -> None:
        for place, value in zip(tensors(made), tensors(work()), strict=True):
            place.copy_(value)

    return replay, made


def some_inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, 4), torch.tensor(float(seed))


def used(network: Network, record: Any) -> Callable[..., Any]:
    """Packed, and called until its size has proved to stay."""
    function = Recorder(record).pack(network, some_inputs(1))
    for _ in range(WORTH_CALLS):
        function(*some_inputs(1))
    return function


def agrees(function: Callable[..., Any], network: Network, seed: int) -> bool:
    pairs = zip(function(*some_inputs(seed)), network(*some_inputs(seed)), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@torch.inference_mode()
def test_recorded_work_gives_what_the_network_gives() -> None:
    network = Network()
    function = used(network, stand_in)
    assert all(agrees(function, network, seed) for seed in (2, 3, 4))


@torch.inference_mode()
def test_results_are_not_written_over_by_the_next_replay() -> None:
    function = used(Network(), stand_in)
    before = function(*some_inputs(2))
    kept = [each.clone() for each in before]
    function(*some_inputs(3))
    assert all(torch.equal(one, other) for one, other in zip(before, kept, strict=True))


@torch.inference_mode()
def test_weights_that_change_in_place_are_followed() -> None:
    network = Network()
    function = used(network, stand_in)
    network.layer.weight.data.mul_(3.0)
    assert agrees(function, network, 5)


def cannot(_work: Callable[[], Any]) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


def wrong(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    made = work()
    return lambda: None, tuple(each * 1.1 for each in made)


def no_number(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    made = work()
    return lambda: None, tuple(each * float("nan") for each in made)


@torch.inference_mode()
@pytest.mark.parametrize("record", [cannot, wrong, no_number])
def test_where_recording_fails_the_network_serves_on(record: Any) -> None:
    network = Network()
    function = used(network, record)
    before = network.calls
    assert agrees(function, network, 7)
    assert network.calls == before + 2


@torch.inference_mode()
def test_a_lost_device_is_not_hidden() -> None:
    def lost(_work: Callable[[], Any]) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="CUDA error"):
        used(Network(), lost)


@torch.inference_mode()
@pytest.mark.parametrize(("code", "is_lost"), [(901, False), (700, True)])
def test_a_void_recording_is_no_lost_device(code: int, is_lost: bool) -> None:
    """Both are errors of the card: 901 is cudaErrorStreamCaptureInvalidated, 700 an illegal
    address."""
    error: Any = torch.AcceleratorError("CUDA error: told by the card")
    error.error_code = code

    def fails(_work: Callable[[], Any]) -> Any:
        raise error

    network = Network()
    if is_lost:
        with pytest.raises(RuntimeError, match="told by the card"):
            used(network, fails)
    else:
        assert agrees(used(network, fails), network, 3)


@torch.inference_mode()
def test_nothing_is_recorded_while_another_thread_has_the_device() -> None:
    network, pauses, goes_on, taken = Network(), Pauses(), threading.Event(), threading.Event()

    def work() -> None:
        with pauses.alone() as is_alone:
            assert is_alone
            taken.set()
            goes_on.wait(20)

    busy = threading.Thread(target=work)
    busy.start()
    assert taken.wait(20)
    function = Recorder(stand_in, pauses).pack(network, some_inputs(1))
    for seed in range(WORTH_CALLS + 3):
        function(*some_inputs(seed))
    assert network.calls == WORTH_CALLS + 3
    goes_on.set()
    busy.join()
    function(*some_inputs(1))
    # As it is, recorded, and replayed for the comparison.
    assert network.calls == WORTH_CALLS + 6
    assert agrees(function, network, 4)


@torch.inference_mode()
def test_work_whose_size_stays_is_recorded_with_its_first_call() -> None:
    recorded: list[int] = []

    def record(work: Callable[[], Any]) -> Any:
        recorded.append(1)
        return stand_in(work)

    network = Network()
    function = Recorder(record).pack_at_once(network)
    function(*some_inputs(1))
    assert len(recorded) == 1
    assert agrees(function, network, 2)


class Twice:
    """The same network, made otherwise."""

    def __init__(self, network: Network, factor: float = 1.0) -> None:
        self._network, self._factor = network, factor

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return tuple(each * self._factor for each in self._network(*inputs))


@torch.inference_mode()
def test_what_a_recording_was_compared_with_is_let_go() -> None:
    network = Network()
    other = Twice(network)
    kept, seen = Twice(network), weakref.ref(other)
    function = Recorder(stand_in).pack_at_once(kept, other)
    del other
    assert agrees(function, network, 1)
    assert seen() is None
    alive = weakref.ref(kept)
    del kept
    assert agrees(function, network, 2)
    assert alive() is not None


@torch.inference_mode()
@pytest.mark.parametrize(("record", "factor"), [(cannot, 1.0), (stand_in, 1.1), (no_number, 1.0)])
def test_work_that_does_not_agree_with_its_network_is_refused(record: Any, factor: float) -> None:
    network = Network()
    function = Recorder(record).pack_at_once(Twice(network, factor), network)
    with pytest.raises(RuntimeError, match=r"capturing|something else"):
        function(*some_inputs(1))


def pictures(engine: Engine) -> list[Any]:
    """Of one size, each by other words, noise and strength."""
    canvas = np.full((64, 64, 4), 255, dtype=np.uint8)
    canvas[20:40, 10:50, :3] = (30, 60, 200)
    made: list[Any] = []
    for n, prompt in enumerate(("a house", "a tree by a lake", "", "stars") * 2):
        strength = 0.4 + 0.05 * n
        params = RenderParams(prompt=prompt, seed=n, strength=strength, num_inference_steps=3)
        request = FrameRequest(
            params=params, extent=Extent(64, 64), canvas=canvas, canvas_version=1
        )
        made.append(engine.render(request).pixels)
    return made


def test_pictures_are_the_same_when_the_unet_s_work_is_replayed(models_dir: Path) -> None:
    library = open_library(models_dir)
    info, device = library.find_model("tiny-full"), choose_device("cpu")
    plain = pictures(open_engine("tiny-full", models_dir, "cpu"))
    recorded = pictures(Engine(load_model(info, device), library, Recorder(stand_in).pack))
    for one, other in zip(plain, recorded, strict=True):
        assert abs(one.astype(int) - other).max() <= 1


def on_a_card(models_dir: Path) -> tuple[Denoiser, Any]:
    """A denoiser that believes that it works on a card; only its rules are asked."""
    library = open_library(models_dir)
    bundle = load_model(library.find_model("tiny-full"), choose_device("cpu"))
    device: Any = SimpleNamespace(
        is_cuda=True, torch_device=torch.device("cuda"), dtype=torch.float16
    )
    bundle = replace(bundle, device=device)
    return Denoiser(bundle), bundle


def test_loras_on_a_card_record_nothing_anew(models_dir: Path) -> None:
    denoiser, _ = on_a_card(models_dir)
    kept = denoiser._unets
    kept.get("one", lambda: lambda: None)
    denoiser.weights_changed(is_plain=False, in_place=True)
    assert denoiser._may_pack()
    kept.get("one", lambda: lambda: None)
    assert kept.misses == 1
    # A hypernetwork is a part of what was recorded.
    denoiser.weights_changed(is_plain=False, in_place=False)
    assert not denoiser._may_pack()


def test_on_a_card_whose_memory_is_short_nothing_is_recorded(models_dir: Path) -> None:
    denoiser, bundle = on_a_card(models_dir)
    assert denoiser._may_pack()
    denoiser._unets.get("one", lambda: lambda: None)
    bundle.placement.measure = Measure.TURNS
    assert not denoiser._may_pack()
    denoiser._unets.get("one", lambda: lambda: None)
    assert denoiser._unets.misses == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_recorded_pictures_on_a_card(models_dir: Path) -> None:
    library = open_library(models_dir)
    info, device = library.find_model("tiny-full"), choose_device("cuda")
    plain = pictures(Engine(load_model(info, device), library))
    recorded = pictures(Engine(load_model(info, device), library, Recorder().pack))
    for one, other in zip(plain, recorded, strict=True):
        assert abs(one.astype(int) - other).max() <= 4
