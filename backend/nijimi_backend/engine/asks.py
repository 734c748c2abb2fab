"""What frames under way ask of the network enters; its outputs leave, those of several by one call.

A frame is made by a generator that yields what it asks and is sent the answer. So a frame alone and
frames of several clients run through the same code: rows are (client, step), each with its own
timestep and words, and nobody waits for another one's frame to end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["MAX_ROWS", "Ask", "Making", "answer", "finish"]

Made = TypeVar("Made")

MAX_ROWS = 16
"""Eight clients with a negative prompt each."""

_ROW_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""What is recorded or packed is so for one number of rows: few of them, at most a half too many."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call: ``work`` of ``inputs``, which are latents N x C x h x w, a timestep (0-dimensional)
    and what else there is, N or 1 rows each. Those of equal ``kind`` may be answered by one call,
    with a timestep for each row; None is answered alone."""

    work: Callable[..., torch.Tensor]
    inputs: tuple[torch.Tensor, ...]
    kind: Hashable | None = None

    @property
    def rows(self) -> int:
        return self.inputs[0].shape[0]


Making = Generator[Ask, torch.Tensor, Made]


def finish(making: Making[Made]) -> Made:
    """A frame alone: each ask is answered as it comes."""
    try:
        ask = next(making)
        while True:
            ask = making.send(ask.work(*ask.inputs))
    except StopIteration as end:
        return end.value


def answer(asks: Sequence[Ask]) -> list[torch.Tensor]:
    """The outputs, in the order of ``asks``, by as few calls as can be."""
    answers: dict[int, torch.Tensor] = {}
    for group in _groups(asks):
        members = [asks[n] for n in group]
        if len(members) == 1:
            made = (members[0].work(*members[0].inputs),)
        else:
            made = _answered_together(members)
        answers.update(zip(group, made, strict=True))
    return [answers[n] for n in range(len(asks))]


def _groups(asks: Sequence[Ask]) -> list[list[int]]:
    """Places in ``asks`` that one call answers; none has more than ``MAX_ROWS`` rows."""
    groups: list[list[int]] = []
    open_groups: dict[Hashable, list[int]] = {}
    for n, ask in enumerate(asks):
        group = open_groups.get(ask.kind) if ask.kind is not None else None
        if group is None or sum(asks[k].rows for k in group) + ask.rows > MAX_ROWS:
            group = []
            groups.append(group)
            if ask.kind is not None:
                open_groups[ask.kind] = group
        group.append(n)
    return groups


def _answered_together(asks: Sequence[Ask]) -> Sequence[torch.Tensor]:
    rows = [ask.rows for ask in asks]
    beyond = min(count for count in _ROW_COUNTS if count >= sum(rows)) - sum(rows)
    counts = [*rows[:-1], rows[-1] + beyond]
    places = range(len(asks[0].inputs))
    joined = tuple(_joined([ask.inputs[n] for ask in asks], rows, counts) for n in places)
    return torch.split(asks[0].work(*joined)[: sum(rows)], rows)


def _joined(
    parts: Sequence[torch.Tensor], rows: Sequence[int], counts: Sequence[int]
) -> torch.Tensor:
    """One input of all asks, as many rows of each as ``counts`` says: the last row is repeated
    where that is more than its ``rows``."""
    made: list[torch.Tensor] = []
    for part, own, count in zip(parts, rows, counts, strict=True):
        shape = part.shape[1:]  # () of a timestep
        full = part.expand(own, *shape)
        made.append(full)
        if count > own:
            made.append(full[-1:].expand(count - own, *shape))
    return torch.cat(made).contiguous()
