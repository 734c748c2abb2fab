"""Which kernel computes attention: timed by what is asked for, never another result."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from nijimi_backend.engine import card_attention
from nijimi_backend.engine.card_attention import (
    AskedShapes,
    AttentionShape,
    Kernel,
    kernels_of,
    prefer,
    put_back,
    quickest,
)
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from torch.nn.attention import (
    SDPBackend,
    current_flash_attention_impl,
    restore_flash_attention_impl,
)
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from tests.support.tiny_model import write_tiny_model

CPU = torch.device("cpu")
SMALL = AttentionShape(batch=1, heads=2, queries=16, keys=8, width=8)
LARGE = SMALL._replace(queries=64)
FLASH, MATH = Kernel("flash", SDPBackend.FLASH_ATTENTION), Kernel("math", SDPBackend.MATH)


TORCH: Any = torch._C  # pyright: ignore[reportPrivateUsage]
BACKEND: Any = SDPBackend
REGISTRY: Any = importlib.import_module("torch.nn.attention._registry")


def order() -> list[str]:
    """Names of the kernels, in the order in which they are asked."""
    return [BACKEND(number).name for number in TORCH._get_sdp_priority_order()]


@pytest.fixture(autouse=True)
def as_it_was() -> Generator[None]:
    before = TORCH._get_sdp_priority_order()
    yield
    TORCH._set_sdp_priority_order(before)


def timed(**spent_ms: float) -> Callable[[Callable[[], torch.Tensor]], float]:
    """By the kernel that is asked first; a call of many queries takes ten times as long."""

    def time_ms(call: Callable[[], torch.Tensor]) -> float:
        first = order()[0].split("_", maxsplit=1)[0].lower()
        which = first if is_tried[0] else "own"
        is_tried[0] = True
        return spent_ms[which] * (10.0 if call().shape[2] == LARGE.queries else 1.0)

    is_tried = [False]
    return time_ms


def test_the_quickest_is_found() -> None:
    found = quickest({SMALL: 1}, CPU, torch.float32, (FLASH, MATH), timed(own=3, flash=2, math=1))
    assert found is MATH


def test_torch_s_own_choice_stays_where_little_is_gained() -> None:
    spent = timed(own=2.0, flash=1.95, math=2.5)
    assert quickest({SMALL: 1}, CPU, torch.float32, (FLASH, MATH), spent) is None


def test_what_is_asked_often_counts_more() -> None:
    calls = {"n": 0}

    def time_ms(call: Callable[[], torch.Tensor]) -> float:
        calls["n"] += 1
        is_large = call().shape[2] == LARGE.queries
        own = calls["n"] <= 2
        return 10.0 if own else (1.0 if is_large else 12.0)

    assert quickest({SMALL: 1, LARGE: 5}, CPU, torch.float32, (FLASH,), time_ms) is FLASH
    calls["n"] = 0
    assert quickest({SMALL: 50, LARGE: 5}, CPU, torch.float32, (FLASH,), time_ms) is None


def test_one_that_gives_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        made = scaled_dot_product_attention(query, key, value)
        return made if order()[0] == "MATH" else made * 1.2

    monkeypatch.setattr(card_attention, "scaled_dot_product_attention", wrong)
    with monkeypatch.context() as patch:
        real: Any = card_attention.sdpa_kernel
        # The plain product alone is asked for as a kernel, not as an order.
        patch.setattr(
            card_attention,
            "sdpa_kernel",
            lambda wish, **options: real([wish] if wish is SDPBackend.MATH else wish,
                                         set_priority=True),
        )  # fmt: skip
        found = quickest({SMALL: 1}, CPU, torch.float32, (FLASH,), timed(own=3, flash=1))
    assert found is None
    assert "something else" in caplog.text


def test_one_that_cannot_be_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Kernel("FA3", SDPBackend.FLASH_ATTENTION, "FA3")

    def cannot(_name: str) -> None:
        raise ImportError("flash_attn_interface")

    monkeypatch.setattr(card_attention, "activate_flash_attention_impl", cannot)
    spent = timed(own=3, flash=1, math=2)
    assert quickest({SMALL: 1}, CPU, torch.float32, (missing, MATH), spent) is MATH


def test_a_trial_leaves_torch_s_order_as_it_was() -> None:
    before = order()
    with MATH.first():
        assert order()[0] == "MATH"
    assert order() == before
    prefer(None)
    assert order() == before


def test_what_is_preferred_stays_until_something_else_is() -> None:
    prefer(MATH)
    assert order()[0] == "MATH"
    prefer(FLASH)
    assert order()[0] == "FLASH_ATTENTION"
    # The others go on with what it cannot do.
    assert "MATH" in order()


def test_a_network_s_attentions_are_noted(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    bundle = load_model(Library([tmp_path]).find_model("tiny"), choose_device("cpu"))
    unet: Any = bundle.unet
    with torch.inference_mode(), AskedShapes() as asked:
        unet(torch.randn(1, 4, 8, 8), torch.tensor(5), torch.randn(1, 77, 16))
    counts = asked.counts
    assert counts[AttentionShape(1, 2, 16, 77, 16)] == counts[AttentionShape(1, 2, 16, 16, 16)] > 0


def test_attentions_asked_for_by_name_are_noted() -> None:
    # As diffusers' dispatch asks, Z-Image's network among others.
    queries, keys = torch.randn(1, 2, 16, 8), torch.randn(1, 2, 8, 8)
    with AskedShapes() as asked:
        scaled_dot_product_attention(query=queries, key=keys, value=keys, attn_mask=None)
    assert asked.counts == {SMALL: 1}


@pytest.mark.parametrize(
    "options", [{"attn_mask": torch.ones(16, 16, dtype=torch.bool)}, {"is_causal": True}]
)
def test_what_is_more_than_a_product_is_not_noted(options: dict[str, Any]) -> None:
    x = torch.randn(1, 2, 16, 8)
    with AskedShapes() as asked:
        scaled_dot_product_attention(x, x, x, **options)
    assert not asked.counts


def test_heads_that_share_keys_are_not_noted() -> None:
    queries, keys = torch.randn(1, 4, 16, 8), torch.randn(1, 2, 16, 8)
    with AskedShapes() as asked:
        scaled_dot_product_attention(queries, keys, keys, enable_gqa=True)
    assert not asked.counts


def test_heads_are_timed_beside_each_other_in_memory_as_diffusers_lays_them() -> None:
    laid: dict[str, tuple[int, ...]] = {}

    class Laid(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is scaled_dot_product_attention:
                laid[by] = args[0].stride()
            return func(*args, **(kwargs or {}))

    layer = Attention(query_dim=32, heads=2, dim_head=16)
    with torch.inference_mode(), Laid():
        by = "network"
        layer(torch.randn(1, 64, 32))
        by = "trial"
        shape = AttentionShape(batch=1, heads=2, queries=64, keys=64, width=16)
        quickest({shape: 1}, CPU, torch.float32, (), lambda call: float(call().numel()))
    assert laid["trial"] == laid["network"]


@pytest.mark.parametrize("error", [AssertionError("head_dim"), TypeError("num_splits")])
def test_one_whose_package_refuses_a_shape_in_its_own_way_is_passed_over(error: Exception) -> None:
    # FlashAttention 4 checks by assert, and its compiler has errors of its own.
    spent = timed(own=3, flash=1, math=2)

    def time_ms(call: Callable[[], torch.Tensor]) -> float:
        taken = spent(call)
        if taken == 1:
            raise error
        return taken

    assert quickest({SMALL: 1}, CPU, torch.float32, (FLASH, MATH), time_ms) is MATH


def test_the_plain_product_is_asked_for_some_of_the_queries_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It holds a product of each query with each key, in float32.
    asked: list[int] = []

    def noted(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if not TORCH._get_flash_sdp_enabled():
            asked.append(query.shape[2])
        return scaled_dot_product_attention(query, key, value)

    monkeypatch.setattr(card_attention, "scaled_dot_product_attention", noted)
    shape = SMALL._replace(queries=3001)
    found = quickest({shape: 1}, CPU, torch.float32, (FLASH,), timed(own=3, flash=1))
    assert found is FLASH
    assert len(asked) == 1
    assert 0 < asked[0] < 1000


def test_a_mistake_in_the_last_queries_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        made = scaled_dot_product_attention(query, key, value)
        if TORCH._get_flash_sdp_enabled():
            made[:, :, -1] += 1.0
        return made

    monkeypatch.setattr(card_attention, "scaled_dot_product_attention", wrong)
    shape = SMALL._replace(queries=3001)
    assert quickest({shape: 1}, CPU, torch.float32, (FLASH,), timed(own=3, flash=1)) is None


class Handle:
    """What torch keeps of a FlashAttention that took its own one's place."""

    def remove(self) -> None:
        pass


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Generator[Kernel]:
    monkeypatch.setitem(REGISTRY._FLASH_ATTENTION_IMPLS, "stub", lambda: Handle())
    yield Kernel("stub", SDPBackend.FLASH_ATTENTION, "stub")
    if current_flash_attention_impl() is not None:
        restore_flash_attention_impl()


def test_torch_s_own_flash_is_timed_where_another_has_its_place(stub: Kernel) -> None:
    prefer(stub)
    assert current_flash_attention_impl() == "stub"
    with FLASH.first():
        assert current_flash_attention_impl() is None
    assert current_flash_attention_impl() == "stub"
    prefer(FLASH)
    assert current_flash_attention_impl() is None


def test_the_next_model_begins_with_torch_s_own_flash(stub: Kernel) -> None:
    prefer(stub)
    put_back()
    assert current_flash_attention_impl() is None


def test_a_trial_leaves_torch_s_flash_as_it_was(stub: Kernel) -> None:
    before = order()
    with stub.first():
        assert current_flash_attention_impl() == "stub"
    assert current_flash_attention_impl() is None
    assert order() == before


def test_what_a_kernel_cannot_do_is_done_by_the_next_in_torch_s_order() -> None:
    with FLASH.first():
        assert order()[:2] == ["FLASH_ATTENTION", "EFFICIENT_ATTENTION"]


def test_a_trial_waits_for_its_own_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever waits for the whole card spoils what another thread records.
    waited: list[str] = []

    class Stream:
        def synchronize(self) -> None:
            waited.append("stream")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_device: Stream())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_device: waited.append("card"))
    quickest({SMALL: 1}, CPU, torch.float32, ())
    assert set(waited) == {"stream"}


def test_there_is_nothing_to_try_on_a_cpu() -> None:
    assert kernels_of(CPU) == ()


@pytest.mark.parametrize(
    ("generation", "installed", "names"),
    [(9, True, ["FA3", "FA4"]), (9, False, []), (8, True, []), (10, True, ["FA4"])],
)
def test_newer_kernels_are_tried_on_their_cards_where_they_are_installed(
    monkeypatch: pytest.MonkeyPatch, generation: int, installed: bool, names: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (generation, 0))
    monkeypatch.setattr(card_attention, "_has", lambda _package: installed)
    found = kernels_of(torch.device("cuda"))
    assert [each.name for each in found if each.flash] == names
    assert len(found) == 3 + len(names)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_kernels_of_a_card_are_timed() -> None:
    device = torch.device("cuda")
    shape = AttentionShape(batch=1, heads=8, queries=1024, keys=1024, width=40)
    found = quickest({shape: 1}, device, torch.float16, kernels_of(device))
    assert found is None or found in kernels_of(device)
