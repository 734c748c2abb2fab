"""Selections that training fills: around subjects, inside the picture, of some size."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.selections import select, selections


@given(
    left=st.integers(0, 30), top=st.integers(0, 30), width=st.integers(1, 32),
    height=st.integers(1, 32), seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_subject_is_within_its_selection(
    left: int, top: int, width: int, height: int, seed: int
) -> None:
    torch.manual_seed(seed)
    cover = torch.zeros(32, 32)
    cover[top : top + height, left : left + width] = 1.0
    chosen = select(cover)
    assert chosen.shape == (32, 32)
    assert set(chosen.unique().tolist()) <= {0.0, 1.0}
    # An ellipse may leave the box's corners; nearly all of it is filled.
    assert float((chosen * cover).sum() / cover.sum()) > 0.9


def test_where_nothing_is_a_part_is_selected_all_the_same() -> None:
    torch.manual_seed(4)
    chosen = selections(torch.zeros(200, 16, 16))
    assert chosen.shape == (200, 1, 16, 16)
    shares = chosen.mean((1, 2, 3))
    assert float(shares.min()) > 0.02
    assert float(shares.max()) < 0.95
    # A batch that fills nothing asks for none.
    assert selections(torch.zeros(0, 16, 16)).shape == (0, 1, 16, 16)
    # Among them halves of the picture, which touch three of its sides.
    halves = (chosen[:, 0, 0].any(1) & chosen[:, 0, -1].any(1)).sum()
    assert 5 < int(halves) < 60
