"""Networks that torch compiles in pauses: its C++ kernels on the CPU, and rules by stand-ins."""

# What is let go is asked of the functions themselves.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nijimi_backend.engine import compiled as compiled_module
from nijimi_backend.engine.compiled import (
    LEAST_FREE_BYTES,
    can_compile,
    compiled_function,
    own_modules,
)
from nijimi_backend.engine.frozen import WORTH_CALLS
from nijimi_backend.engine.quickened import TRIAL_CALLS, QuickPack
from nijimi_backend.engine.recorded import Recorder

from tests.backend.test_quickened import no_quicken_thread

_COMPILERS = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(each) for each in _COMPILERS if each), reason="no C++ compiler here"
)


class Block(torch.nn.Module):
    """What a UNet is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.GroupNorm(2, 8)
        self.conv = torch.nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(torch.nn.functional.silu(self.norm(x))) * when, x + when


class Broken(Block):
    """A part of it cannot be traced."""

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = self.norm(x)
        graph_break: Any = importlib.import_module("torch._dynamo").graph_break
        graph_break()
        return self.conv(made) * when, x + when


class Refused(Block):
    def forward(self, x: torch.Tensor, when: torch.Tensor) -> Any:
        raise ValueError("no such picture")


def laid_out(network: Block) -> Block:
    """As networks lie on a card: channels last."""
    network.conv.weight.data = network.conv.weight.data.to(memory_format=torch.channels_last)
    return network.eval()


def some_inputs(seed: int, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(1, 8, side, side).to(memory_format=torch.channels_last)
    return x, torch.tensor(0.5 + seed)


def agrees(one: Callable[..., Any], other: Callable[..., Any], seed: int) -> bool:
    pairs = zip(one(*some_inputs(seed)), other(*some_inputs(seed)), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in pairs)


def graphs() -> int:
    """How many torch has compiled in this process."""
    return importlib.import_module("torch._dynamo.utils").counters["stats"]["unique_graphs"]


@dataclass
class Made:
    """A network, and what was compiled of it in a thread while this one ran it."""

    network: Block
    function: Callable[..., Any]
    served: int


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Nothing that was compiled before is found."""
    folder = tmp_path_factory.mktemp("inductor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def made(cache: Path) -> Made:
    torch.manual_seed(0)
    network = laid_out(Block())
    inputs, got, served = some_inputs(1), list[Callable[..., Any]](), 0
    with torch.inference_mode():
        expected = network(*inputs)
        given = tuple(each.clone() for each in inputs)
        thread = threading.Thread(
            target=lambda: got.append(compiled_function(own_modules(network), given))
        )
        thread.start()
        while thread.is_alive():
            for one, other in zip(network(*inputs), expected, strict=True):
                assert torch.equal(one, other)
            served += 1
            time.sleep(0.01)
    return Made(network, got[0], served)


@needs_compiler
@torch.inference_mode()
def test_a_compiled_network_gives_what_the_network_gives(made: Made) -> None:
    assert all(agrees(made.function, made.network, seed) for seed in (1, 2, 3))


@needs_compiler
@torch.inference_mode()
def test_it_is_kernels_of_its_own(made: Made) -> None:
    """And not the network itself, which is what torch falls back to where it cannot compile."""

    def names(function: Callable[..., Any]) -> set[str]:
        with torch.profiler.profile() as profile:
            function(*some_inputs(1))
        return {each.name for each in profile.events() or ()}

    assert "aten::silu" in names(made.network)
    assert "aten::silu" not in names(made.function)


@needs_compiler
def test_others_run_the_network_while_it_is_compiled(made: Made) -> None:
    """The values were compared at each call."""
    assert made.served > 20


@needs_compiler
@torch.inference_mode()
def test_weights_that_change_in_place_are_read_without_compiling(made: Made) -> None:
    before, kept = graphs(), made.network.conv.weight.detach().clone()
    first = made.function(*some_inputs(4))[0]
    made.network.conv.weight.data.copy_(torch.randn_like(kept))
    try:
        assert not torch.allclose(made.function(*some_inputs(4))[0], first, atol=1e-2)
        assert agrees(made.function, made.network, 4)
    finally:
        made.network.conv.weight.data.copy_(kept)
    assert graphs() == before > 0


@needs_compiler
@torch.inference_mode()
def test_it_never_compiles_again(made: Made) -> None:
    """In the thread that serves that would take a minute; another size raises at once."""
    before = graphs()
    with pytest.raises(RuntimeError, match="size mismatch"):
        made.function(*some_inputs(1, side=8))
    with torch.inference_mode(False), pytest.raises(RuntimeError, match="grad_mode"):
        made.function(*some_inputs(1))
    assert graphs() == before
    assert agrees(made.function, made.network, 1)


@needs_compiler
@torch.inference_mode()
def test_settings_are_put_back(made: Made) -> None:
    choice: Any = importlib.import_module("torch._inductor.select_algorithm")
    assert sys.getswitchinterval() == pytest.approx(0.005)
    assert choice.PRINT_AUTOTUNE
    config: Any = importlib.import_module("torch._inductor.config")
    dynamo: Any = importlib.import_module("torch._dynamo.config")
    assert (config.freezing, dynamo.error_on_recompile) == (False, False)


@needs_compiler
@torch.inference_mode()
def test_what_cannot_be_traced_stays_and_the_rest_is_compiled(cache: Path) -> None:
    torch.manual_seed(0)
    network = Broken().eval()
    before = graphs()
    assert agrees(compiled_function(network, some_inputs(1)), network, 2)
    assert graphs() >= before + 2


@needs_compiler
@torch.inference_mode()
def test_without_a_compiler_it_says_so(cache: Path) -> None:
    config: Any = importlib.import_module("torch._inductor.config")
    missing = {"cpp.cxx": (None, "no-such-compiler")}
    with config.patch(missing), pytest.raises(RuntimeError, match="InvalidCxxCompiler"):
        compiled_function(Block().eval(), some_inputs(1, side=12))
    assert sys.getswitchinterval() == pytest.approx(0.005)


@torch.inference_mode()
def test_whatever_a_network_raises_is_a_failure_to_compile() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such picture"):
        compiled_function(Refused(), some_inputs(1))


@needs_compiler
@torch.inference_mode()
def test_what_was_compiled_goes_with_its_function(made: Made) -> None:
    """Hundreds of sizes may come and go in a day, and torch counts what it compiled of one code."""
    settings: Any = importlib.import_module("torch._dynamo.config")
    network, before = Block().eval(), graphs()
    seen = weakref.ref(network)
    with settings.patch(accumulated_recompile_limit=1):
        function = compiled_function(network, some_inputs(1, side=10))
        assert graphs() == before + 1
    del network
    assert seen() is not None
    del function
    gc.collect()
    assert seen() is None


class Held(torch.nn.Module):
    """Is being traced for as long as it is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)
        self.is_traced, self.goes_on = threading.Event(), threading.Event()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.is_traced.set()
        assert self.goes_on.wait(20)
        return self.inner(x)


@torch.inference_mode()
def test_a_network_may_run_while_another_thread_traces() -> None:
    """Else torch.fx takes its modules for what is traced, and does not know them."""
    traced, network, graphs = Held(), Block().eval(), list[str]()
    expected = network(*some_inputs(1))[0]

    def trace() -> None:
        with compiled_module._traced_alone():
            graphs.append(str(torch.fx.symbolic_trace(traced).graph))

    thread = threading.Thread(target=trace)
    thread.start()
    assert traced.is_traced.wait(20)
    try:
        assert torch.equal(network(*some_inputs(1))[0], expected)
    finally:
        traced.goes_on.set()
        thread.join()
    assert graphs[0].count("call_module") == 1
    assert torch.fx.Tracer.call_module.__module__ == "torch.fx._symbolic_trace"


def test_own_modules_share_weights_and_nothing_that_is_put_in_later() -> None:
    network = Block().eval()
    network.register_forward_pre_hook(lambda _module, given: (given[0] + 1.0, given[1]))
    own: Any = own_modules(network)
    assert own.conv is not network.conv
    assert own.conv.weight is network.conv.weight
    assert own.norm.bias is network.norm.bias
    assert not own.training
    inputs = some_inputs(1)
    before = network(*inputs)[0]
    network.register_forward_hook(lambda *_: "spoilt")
    network.conv = torch.nn.Conv2d(8, 8, 1)
    assert torch.equal(own(*inputs)[0], before)
    assert network(*inputs) == "spoilt"


def test_a_module_that_stands_twice_stays_one() -> None:
    layer = torch.nn.Linear(2, 2)
    own: Any = own_modules(torch.nn.Sequential(layer, torch.nn.Sequential(layer)))
    assert own[0] is own[1][0]


def test_a_forward_of_a_layer_s_own_is_kept() -> None:
    """As rows in eight bits have it."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    network[0].__dict__["forward"] = lambda x: x * 7.0
    own = own_modules(network)
    del network[0].__dict__["forward"]
    assert float(own(torch.ones(1))) == 7.0


@pytest.mark.parametrize(
    ("capability", "free", "share", "reserved", "triton", "can"),
    [
        ((7, 0), LEAST_FREE_BYTES, 1.0, 0, True, True),
        ((6, 1), LEAST_FREE_BYTES, 1.0, 0, True, False),
        ((12, 0), LEAST_FREE_BYTES - 1, 1.0, 0, True, False),
        ((12, 0), LEAST_FREE_BYTES, 1.0, 0, False, False),
        ((8, 9), 2 * LEAST_FREE_BYTES, 0.5, LEAST_FREE_BYTES, True, True),
        ((8, 9), 2 * LEAST_FREE_BYTES, 0.5, LEAST_FREE_BYTES + 1, True, False),
    ],
    ids=["enough", "old card", "little memory", "no Triton", "within a budget", "budget spent"],
)
def test_only_cards_on_which_it_can_pay(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], free: int, share: float,
    reserved: int, triton: bool, can: bool,
) -> None:  # fmt: skip
    total = 4 * LEAST_FREE_BYTES
    told: dict[str, Any] = {
        "get_device_capability": capability,
        "mem_get_info": (free, total),
        "get_per_process_memory_fraction": share,
        "memory_reserved": reserved,
    }
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    spec = SimpleNamespace() if triton else None
    monkeypatch.setattr(compiled_module.importlib.util, "find_spec", lambda _name: spec)
    assert can_compile(torch.device("cuda:0")) == can
    assert not can_compile(torch.device("cpu"))


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.mark.gpu
@gpu
@torch.inference_mode()
def test_on_a_card_the_compiled_network_is_recorded_and_gives_the_same() -> None:
    network = laid_out(Block()).to("cuda", torch.float16)
    inputs = tuple(each.to("cuda", torch.float16) for each in some_inputs(1))
    expected = network(*inputs)
    function = Recorder().pack_at_once(compiled_function(own_modules(network), inputs), network)
    function(*inputs)
    for factor in (1.0, 2.0):
        network.conv.weight.data.mul_(factor)
        expected = network(*inputs)
        for one, other in zip(function(*inputs), expected, strict=True):
            assert torch.allclose(one, other, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
@gpu
@torch.inference_mode()
def test_on_a_card_frames_go_on_while_a_network_is_compiled() -> None:
    network = laid_out(Block()).to("cuda", torch.float16)
    inputs = tuple(each.to("cuda", torch.float16) for each in some_inputs(1))
    expected = network(*inputs)
    function = QuickPack()(network, inputs)
    for _ in range(WORTH_CALLS):
        function(*inputs)
    end = time.monotonic() + 200.0
    while time.monotonic() < end and not no_quicken_thread():
        time.sleep(0.2)
        for one, other in zip(function(*inputs), expected, strict=True):
            assert torch.allclose(one, other, rtol=2e-2, atol=2e-2)
    assert no_quicken_thread()
    for _ in range(TRIAL_CALLS + 1):
        assert torch.allclose(function(*inputs)[1], expected[1], rtol=2e-2, atol=2e-2)
