"""Attention of large shapes: as torch's, quicker where it can be, and torch's where it cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from nijimi_backend.engine import attention as attention_module
from nijimi_backend.engine import quickened as quickened_module
from nijimi_backend.engine.attention import (
    TRIAL_CALLS,
    Attending,
    QuickAttention,
    native_attention,
)
from nijimi_backend.engine.native.kernels import Kernels
from nijimi_backend.engine.native.provider import Native
from nijimi_backend.engine.openvino_net import has_openvino, openvino_attention
from nijimi_backend.engine.quickened import QuickPack
from torch.nn.functional import scaled_dot_product_attention

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed here")

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
CALLS = 2 * TRIAL_CALLS + 1


def tensors(
    queries: int = 64, keys: int = 64, *, heads: int = 2, batch: int = 1, width: int = 40
) -> Tensors:
    """As diffusers lays them: heads beside each other in memory."""
    torch.manual_seed(5)

    def one(count: int) -> torch.Tensor:
        return torch.randn(batch, count, heads, width).bfloat16().transpose(1, 2)

    return one(queries), one(keys), one(keys)


class Ways:
    """Torch's way and another one, by a clock of their own; the other one gives ones."""

    def __init__(self, other_s: float = 1.0, error: Exception | None = None) -> None:
        self.now_s = 0.0
        self.made: list[tuple[int, ...]] = []
        self._other_s, self._error = other_s, error

    def clock(self) -> float:
        # Each call of a way lies between two readings: torch's takes a second.
        self.now_s += 0.5
        return self.now_s

    def make(self, *shape: int) -> Callable[..., torch.Tensor]:
        self.made.append(shape)

        def run(query: torch.Tensor, *_rest: torch.Tensor) -> torch.Tensor:
            if self._error is not None:
                raise self._error
            self.now_s += self._other_s - 1.0
            return torch.ones_like(query)

        return run

    def attention(self, least_scores: int = 1) -> QuickAttention:
        return QuickAttention(self.make, self.clock, least_scores)


def is_other(attention: QuickAttention, given: Tensors, **options: Any) -> bool:
    with torch.inference_mode(), attention:
        return bool((scaled_dot_product_attention(*given, **options) == 1).all())


@needs_openvino
@torch.inference_mode()
@pytest.mark.parametrize(
    ("queries", "keys", "heads", "batch", "width"),
    [(256, 256, 8, 1, 40), (128, 77, 4, 2, 64), (64, 128, 2, 1, 160)],
)
def test_openvino_gives_what_torch_gives(
    queries: int, keys: int, heads: int, batch: int, width: int
) -> None:
    given = tensors(queries, keys, heads=heads, batch=batch, width=width)
    run = openvino_attention(batch, heads, queries, keys, width, torch.get_num_threads())
    query, key, value = (each.double() for each in given)
    exact = scaled_dot_product_attention(query, key, value)
    mistakes = [
        float((made.double() - exact).pow(2).mean().sqrt())
        for made in (run(*given), scaled_dot_product_attention(*given))
    ]
    assert run(*given).shape == exact.shape
    assert mistakes[0] < 2 * mistakes[1]
    # Inputs that do not lie as diffusers lays them, and a second call by the same memory.
    apart = tuple(each.contiguous() for each in given)
    kept = run(*apart)
    run(*(2 * each for each in given))
    assert torch.equal(kept, run(*given))


@needs_openvino
@torch.inference_mode()
def test_a_networks_attention_is_taken() -> None:
    torch.manual_seed(3)
    layer = Attention(query_dim=32, heads=2, dim_head=16).bfloat16().eval()
    x = torch.randn(1, 64, 32).bfloat16()
    shapes: list[tuple[int, ...]] = []

    def make(*shape: int) -> Callable[..., torch.Tensor]:
        shapes.append(shape)
        return openvino_attention(*shape)

    function = Attending(layer, QuickAttention(make, least_scores=1))
    assert torch.allclose(function(x), layer(x), atol=2e-2)
    assert shapes == [(1, 2, 64, 64, 16, torch.get_num_threads())]
    layer(x)
    assert len(shapes) == 1


@pytest.mark.parametrize(("other_s", "stays"), [(0.5, True), (0.99, False), (2.0, False)])
def test_the_quicker_way_stays_after_a_trial(
    other_s: float, stays: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ways = Ways(other_s)
    attention = ways.attention()
    assert [is_other(attention, tensors()) for _ in range(CALLS)] == [
        n % 2 == 0 for n in range(CALLS)
    ]
    assert [is_other(attention, tensors()) for _ in range(3)] == [stays] * 3
    assert ("stays" if stays else "goes") in caplog.text


def test_each_shape_is_made_once() -> None:
    ways = Ways()
    attention = ways.attention()
    for given in (tensors(), tensors(keys=77), tensors(), tensors(keys=77)):
        is_other(attention, given)
    assert [shape[2:4] for shape in ways.made] == [(64, 64), (64, 77)]


@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": torch.ones(64, 64, dtype=torch.bool)},
        {"is_causal": True},
        {"scale": 0.5},
    ],
)
def test_what_is_more_than_a_product_stays_torchs(options: dict[str, Any]) -> None:
    ways = Ways()
    assert not is_other(ways.attention(), tensors(), **options)
    assert not ways.made


def test_small_shapes_and_other_types_stay_torchs() -> None:
    ways = Ways()
    scores = 2 * 64 * 64
    assert not is_other(ways.attention(scores + 1), tensors())
    assert is_other(ways.attention(scores), tensors())
    exact = tensors()
    assert not is_other(ways.attention(), (exact[0].float(), exact[1].float(), exact[2].float()))


def test_what_learns_stays_torchs() -> None:
    ways = Ways()
    with ways.attention():
        made = scaled_dot_product_attention(*tensors())
    assert not bool((made == 1).all())
    assert not ways.made


def test_where_the_other_fails_torchs_serves_on(caplog: pytest.LogCaptureFixture) -> None:
    ways = Ways(error=RuntimeError("no such instruction"))
    attention = ways.attention()
    assert [is_other(attention, tensors()) for _ in range(CALLS)] == [False] * CALLS
    assert "torch's stays" in caplog.text


def test_where_there_is_none_torchs_serves(caplog: pytest.LogCaptureFixture) -> None:
    def make(*_shape: int) -> Callable[..., torch.Tensor]:
        raise ImportError("no OpenVINO")

    attention = QuickAttention(make, least_scores=1)
    assert [is_other(attention, tensors()) for _ in range(3)] == [False] * 3
    assert caplog.text.count("attention stays torch's") == 1


def test_outside_nothing_is_changed() -> None:
    ways = Ways()
    assert is_other(ways.attention(), tensors())
    with torch.inference_mode():
        made = scaled_dot_product_attention(*tensors())
    assert not bool((made == 1).all())


class Built(Kernels):
    """Stands for the C functions: its attention gives ones."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def attention(
        self, batch: int, heads: int, queries: int, keys: int, width: int, threads: int
    ) -> Callable[..., torch.Tensor]:
        self.shapes.append((batch, heads, queries, keys, width, threads))
        return lambda query, *_rest: torch.ones_like(query)


def test_ours_is_used_from_when_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "NATIVE_SCORES", 1)
    built = Built()
    native = Native(lambda: built, lambda: True)
    attention = native_attention(native)
    assert not is_other(attention, tensors())
    assert not built.shapes
    native.begin()
    native.wait()
    assert is_other(attention, tensors())
    assert built.shapes == [(1, 2, 64, 64, 40, torch.get_num_threads())]


def test_where_ours_cannot_be_built_torchs_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "NATIVE_SCORES", 1)

    def make() -> Kernels:
        raise RuntimeError("there is no C compiler")

    native = Native(make, lambda: True)
    native.begin()
    native.wait()
    assert not is_other(native_attention(native), tensors())


@pytest.mark.parametrize("may_hold_twice", [True, False])
@pytest.mark.parametrize("has_tiles", [True, pytest.param(False, marks=needs_openvino)])
def test_large_networks_are_given_it(
    monkeypatch: pytest.MonkeyPatch, may_hold_twice: bool, has_tiles: bool
) -> None:
    monkeypatch.setattr(quickened_module, "turns_weights", lambda _device, _dtype: True)
    monkeypatch.setattr(quickened_module, "is_large", lambda _network: True)
    native = Native(Built, lambda: has_tiles)
    pack = QuickPack(may_hold_twice, native=native)
    assert native.kernels is None
    assert isinstance(pack(torch.nn.Linear(4, 4), (torch.ones(1, 4),)), Attending)
    native.wait()
    assert (native.kernels is not None) == has_tiles


def test_small_networks_build_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickened_module, "turns_weights", lambda _device, _dtype: True)
    native = Native(Built, lambda: True)
    QuickPack(native=native)(torch.nn.Linear(4, 4), (torch.ones(1, 4),))
    native.wait()
    assert native.kernels is None
