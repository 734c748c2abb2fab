"""Products of eight bits: near to the network's own, shared where layers read the same, refused
where they are not near enough."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from nijimi_backend.engine import quickened as quickened_module
from nijimi_backend.engine.attention import Attending
from nijimi_backend.engine.eight_bit import MUST_AGREE_DB, in_eight_bits, multiplies_bytes
from nijimi_backend.engine.native.build import build
from nijimi_backend.engine.native.kernels import Kernels
from nijimi_backend.engine.packed import WORTH_CALLS, LargePack, Layer, PackedFunction
from nijimi_backend.engine.quickened import QuickPack
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.tiles import needs_tiles

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not multiplies_bytes(CPU, torch.float32), reason="this CPU multiplies no bytes (VNNI)"
)


class Block(nn.Module):
    """A convolution, and attention's three products of the same rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 64, 3, padding=1)
        self.wide = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        self.to_q, self.to_k, self.to_v = (nn.Linear(64, 320) for _ in range(3))
        self.narrow = nn.Linear(320, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.nn.functional.silu(self.wide(torch.nn.functional.silu(self.first(x))))
        rows = made.flatten(2).transpose(1, 2).contiguous()
        return self.narrow(self.to_q(rows) * self.to_k(rows) + self.to_v(rows))


class Counting(TorchDispatchMode):
    """How often each operation runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    def count(self, name: str) -> int:
        return sum(name in each for each in self.names)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def network(request: pytest.FixtureRequest) -> Block:
    torch.manual_seed(5)
    return Block().eval().requires_grad_(False).to(request.param)


def picture(network: nn.Module, side: int = 32) -> torch.Tensor:
    dtype = next(network.parameters()).dtype
    return torch.randn(1, 4, side, side).to(dtype).to(memory_format=torch.channels_last)


def settled(network: nn.Module, x: torch.Tensor, must_db: float = MUST_AGREE_DB) -> PackedFunction:
    function = LargePack(lambda _: True, in_eight_bits, must_db).pack(network)
    for _ in range(WORTH_CALLS):
        function(x)
    return function


def noise_db(made: torch.Tensor, expected: torch.Tensor) -> float:
    error = (made.float() - expected.float()).square().mean()
    return float(10 * torch.log10(expected.float().square().mean() / error))


@torch.inference_mode()
def test_it_is_near_to_the_network_and_not_the_same(network: Block) -> None:
    x = picture(network)
    function = settled(network, x)
    assert function.is_packed
    made, expected = function(x), network(x)
    assert made.dtype == expected.dtype
    assert not torch.equal(made, expected)
    assert noise_db(made, expected) > 30.0


@torch.inference_mode()
def test_other_sizes_and_ranges_need_no_new_weights(network: Block) -> None:
    function = settled(network, picture(network))
    for side, size in ((16, 1.0), (48, 30.0), (32, 0.01)):
        x = picture(network, side) * size
        assert noise_db(function(x), network(x)) > 30.0


@torch.inference_mode()
def test_a_layer_that_reads_only_positive_values_keeps_its_zero(network: Block) -> None:
    x = picture(network).abs()
    function = settled(network, x)
    assert noise_db(function(x), network(x)) > 30.0
    # All of one value, and nothing at all, have scales, too.
    for flat in (torch.zeros_like(x), torch.ones_like(x)):
        assert torch.isfinite(function(flat)).all()


@torch.inference_mode()
def test_queries_keys_and_values_are_rounded_from_one_reading(network: Block) -> None:
    x = picture(network)
    function = settled(network, x)
    with Counting() as counting:
        function(x)
    # The wide convolution, and the rows for all three; the first and the last are too small.
    assert counting.count("aminmax") == 2
    assert counting.count("qconv2d_pointwise") == 4


@needs_tiles
@torch.inference_mode()
def test_our_own_rounding_is_as_near_in_one_call(network: Block) -> None:
    kernels = Kernels(build())
    x = picture(network)
    made: list[float] = []
    for used in (kernels, None):
        pack = LargePack(lambda _: True, partial(in_eight_bits, kernels=used), MUST_AGREE_DB)
        function = pack.pack(network)
        for _ in range(WORTH_CALLS):
            function(x)
        with Counting() as counting:
            made.append(noise_db(function(x), network(x)))
        ours = used is not None and x.dtype == torch.bfloat16
        assert counting.count("aminmax") == (0 if ours else 2)
    assert made[0] > made[1] - 0.5


@torch.inference_mode()
def test_what_was_read_before_is_not_taken_for_what_is_read_now(network: Block) -> None:
    function = settled(network, picture(network))
    for _ in range(6):
        # Memory of one is given to the next.
        x = picture(network)
        assert noise_db(function(x), network(x)) > 30.0
        del x


@torch.inference_mode()
def test_small_layers_stay_out(network: Block) -> None:
    shapes: dict[Layer, torch.Size] = {
        network.first: torch.Size([1, 4, 32, 32]),
        network.narrow: torch.Size([1, 256, 320]),
        network.to_q: torch.Size([1, 4, 64]),
    }
    with Counting() as counting:
        for layer, forward in in_eight_bits(shapes).items():
            forward(torch.randn(shapes[layer]).to(layer.weight.dtype))
    assert counting.count("qconv2d_pointwise") == 0


@torch.inference_mode()
def test_what_is_not_near_enough_is_not_used(network: Block) -> None:
    x = picture(network)
    function = settled(network, x, must_db=90.0)
    assert not function.is_packed
    assert torch.equal(function(x), network(x))


@torch.inference_mode()
def test_values_that_are_no_numbers_are_not_taken_for_near(network: Block) -> None:
    network.wide.weight.data[0, 0, 0, 0] = float("nan")
    x = picture(network)
    assert not settled(network, x).is_packed


@torch.inference_mode()
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(network: Block, value: float) -> None:
    x = picture(network)
    function = settled(network, x)
    x[0, 0, 0, 0] = value
    assert not torch.isfinite(function(x)).all()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("may_hold_twice", "eight_bit", "rounds"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_it_is_the_painter_s_choice_where_memory_is_plenty(
    network: Block, monkeypatch: pytest.MonkeyPatch, may_hold_twice: bool, eight_bit: bool,
    rounds: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(quickened_module, "is_large", lambda _network: True)
    x = picture(network)
    packed = QuickPack(may_hold_twice, eight_bit)(network, (x,))
    packed = packed.function if isinstance(packed, Attending) else packed
    with Counting() as counting:
        for _ in range(WORTH_CALLS + 1):
            packed(x)
    assert (counting.count("qconv2d_pointwise") > 0) == rounds


def test_without_vnni_nothing_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not multiplies_bytes(torch.device("cuda"), torch.float16)
    assert not multiplies_bytes(CPU, torch.float16)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert not multiplies_bytes(CPU, torch.bfloat16)
