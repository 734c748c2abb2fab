"""Requests of several clients enter; their pictures leave, denoised together step by step.

Whoever comes joins at the next step, whoever is done leaves: nobody waits for another one's picture
to end, and each is one row of the same call. It pays on graphics cards, which one picture does not
fill; on a CPU every row costs what it costs alone, and all would only end later.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from ..errors import NijimiError, RenderCancelled
from ..models.bundle import ModelBundle
from ..models.device import expect_out_of_memory
from ..models.placement import Measure
from ..models.reference_files import REFERENCE_KINDS
from .asks import Ask, Making, answer
from .request import REGION, FrameRequest, Picture

__all__ = ["Company", "Outcome", "may_join"]

Begin = Callable[
    [FrameRequest, Callable[[], bool], Callable[[int, int], None], Callable[[], bool]],
    Making[Picture],
]
"""As ``Engine.render``; the last says whether the picture is alone now."""


Outcome = Picture | Exception | None
"""None: memory ran out; it is to be made alone, where an engine knows what to give up for it."""


@dataclass
class _UnderWay:
    making: Making[Picture]
    ask: Ask | None = None


_FAULTS = (NijimiError, RenderCancelled, RuntimeError, MemoryError)


def may_join(request: FrameRequest, bundle: ModelBundle) -> bool:
    """Whether what this picture takes beside the weights are rows of their own, and memory is not
    short: a network listens to references and regions of one picture at a time."""
    if bundle.is_flow or bundle.placement.measure > Measure.NONE or request.upscale is not None:
        return False
    kinds = {each.kind for each in request.controls if not each.is_idle}
    return not kinds & {*REFERENCE_KINDS, REGION}


class Company:
    """Pictures under way, of requests that ``Engine.joins`` gave one value. One thread only."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._under_way: dict[Hashable, _UnderWay] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def add(
        self,
        who: Hashable,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> None:
        """Begin with the next ``advance``; as ``Engine.render``. ``who``: what tells it apart."""
        assert who not in self._under_way, "one picture at a time for each"
        self._under_way[who] = _UnderWay(
            self._begin(request, should_stop, on_step, lambda: len(self) == 1)
        )

    def advance(self) -> list[tuple[Hashable, Outcome]]:
        """One step of each; those that ended, with their picture or with why there is none.

        A fault of one ends that one alone.
        """
        ended: list[tuple[Hashable, Outcome]] = []
        with torch.inference_mode():
            asking = {who: each.ask for who, each in self._under_way.items() if each.ask}
            try:
                answers = dict(zip(asking, answer(tuple(asking.values())), strict=True))
            except _FAULTS as error:
                # Whose row it was is not known.
                outcome = _outcome(error)
                ended = [(who, outcome) for who in asking]
                answers = {}
            for who in [who for who, _ in ended]:
                self._under_way.pop(who).making.close()
            for who, each in list(self._under_way.items()):
                try:
                    # None begins a generator.
                    each.ask = each.making.send(answers.get(who))  # pyright: ignore[reportArgumentType]
                except StopIteration as end:
                    ended.append((who, end.value))
                    del self._under_way[who]
                except _FAULTS as error:
                    ended.append((who, _outcome(error)))
                    del self._under_way[who]
        return ended


def _outcome(error: Exception) -> Outcome:
    if isinstance(error, NijimiError | RenderCancelled):
        return error
    try:
        expect_out_of_memory(error)
    except (NijimiError, RuntimeError) as told:
        return told
    return None
