"""Calls of several frames: which of them one call answers, and that each gets its own answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nijimi_backend.engine.asks import MAX_ROWS, Ask, Making, answer, finish


def _work(calls: list[tuple[int, ...]]) -> Callable[..., torch.Tensor]:
    def work(latents: torch.Tensor, when: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        calls.append((latents.shape[0], when.dim()))
        assert words.shape[0] == latents.shape[0]
        return latents * when.reshape(-1, 1, 1, 1) + words.sum((1, 2)).reshape(-1, 1, 1, 1)

    return work


def test_rows_of_several_are_one_call_with_a_timestep_each() -> None:
    calls: list[tuple[int, ...]] = []
    work = _work(calls)
    asks = [
        Ask(work=work, kind="same", inputs=(torch.full((2, 1, 2, 2), 1.0), torch.tensor(5),
                                            torch.ones(2, 3, 4))),
        Ask(work=work, kind="same", inputs=(torch.full((1, 1, 2, 2), 2.0), torch.tensor(7),
                                            torch.zeros(1, 3, 4))),
    ]  # fmt: skip
    first, second = answer(asks)
    assert calls == [(3, 1)]
    assert first.shape == (2, 1, 2, 2)
    assert (first == 1 * 5 + 12).all()
    assert second.shape == (1, 1, 2, 2)
    assert (second == 2 * 7).all()


def test_one_row_of_what_is_alike_for_all_is_enough() -> None:
    """An adapter's features have one row, whatever the guidance."""

    def work(latents: torch.Tensor, when: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        return latents + feature

    asks = [
        Ask(work=work, kind=1, inputs=(torch.zeros(2, 1, 1, 1), torch.tensor(0),
                                       torch.full((1, 1, 1, 1), float(n))))
        for n in range(3)
    ]  # fmt: skip
    assert [made.flatten().tolist() for made in answer(asks)] == [[0, 0], [1, 1], [2, 2]]


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", None])), min_size=1, max_size=30
    )
)
def test_each_gets_its_own_answer_in_bounded_calls(
    wishes: list[tuple[int, str | None]],
) -> None:
    calls: list[int] = []

    def work(latents: torch.Tensor, when: torch.Tensor) -> torch.Tensor:
        calls.append(latents.shape[0])
        return latents + when.reshape(-1, 1, 1, 1)

    asks = [
        Ask(work=work, kind=kind,
            inputs=(torch.full((rows, 1, 1, 1), float(n)), torch.tensor(100 * n)))
        for n, (rows, kind) in enumerate(wishes)
    ]  # fmt: skip
    made = answer(asks)
    assert [each.flatten().tolist() for each in made] == [
        [101.0 * n] * rows for n, (rows, _) in enumerate(wishes)
    ]
    assert max(calls) <= MAX_ROWS
    alone = sum(kind is None for _, kind in wishes)
    for kind in ("a", "b"):
        rows = sum(rows for rows, each in wishes if each == kind)
        # A call is closed when the next one's rows do not fit: at most two stay empty in it.
        alone += -(-rows // (MAX_ROWS - 2))
    assert len(calls) <= alone


def test_a_frame_alone_is_answered_as_it_asks() -> None:
    def making() -> Making[float]:
        first = yield Ask(work=lambda x: x + 1, inputs=(torch.ones(1),))
        second = yield Ask(work=lambda x: x * 3, inputs=(first,))
        return float(second)

    assert finish(making()) == 6.0


def test_a_fault_of_the_network_reaches_the_frame() -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    def making() -> Making[None]:
        yield Ask(work=fail, inputs=(torch.ones(1),))

    with pytest.raises(RuntimeError, match="no such kernel"):
        finish(making())
