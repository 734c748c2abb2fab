"""A connected client, and one piece of work for it, as the worker sees them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from nijimi_protocol.messages import CONTROL_FAILED, BatchState, ErrorReport, Progress, Status

from ..engine.request import FrameRequest, Picture
from .batches import Batch, Batches
from .budget import PlaneBudget
from .canvas_state import CanvasState, Snapshot
from .frames import Finished, Made
from .pace import Pace, Work

__all__ = ["CompanyLike", "EngineLike", "EngineOpener", "Job", "RenderClient", "Told"]


class ModelLike(Protocol):
    """What the worker reads of a model."""

    @property
    def name(self) -> str: ...


class EngineLike(Protocol):
    """What the worker needs of an engine."""

    @property
    def device(self) -> str: ...

    @property
    def model(self) -> ModelLike: ...

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = ...,
        on_step: Callable[[int, int], None] = ...,
    ) -> Picture: ...

    def joins(self, request: FrameRequest) -> Hashable | None: ...

    def company(self) -> CompanyLike: ...


class CompanyLike(Protocol):
    """Pictures that an engine makes together, as ``engine.company.Company``."""

    def add(
        self,
        who: Hashable,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> None: ...

    def advance(self) -> list[tuple[Hashable, Picture | Exception | None]]: ...


EngineOpener = Callable[[str, Callable[[str, int, int], None]], EngineLike]
"""Model name ("" for the default) and a progress callback in, a warm engine out."""


Told = Status | Progress | ErrorReport | BatchState


class RenderClient:
    """One connected client as the worker sees it. What it is given to call must not block."""

    def __init__(
        self,
        deliver: Callable[[Finished], None],
        tell: Callable[[Told], None],
        budget: PlaneBudget | None = None,
        deliver_made: Callable[[Made], None] = lambda made: None,
    ) -> None:
        self.state = CanvasState(budget)
        self.pace = Pace()
        self.batches = Batches()
        self.deliver = deliver
        self.deliver_made = deliver_made
        self.tell = tell
        self.last: tuple[tuple[object, ...], bool, Picture] | None = None
        self.told: frozenset[str] = frozenset()
        self.meanwhile = 0
        """The change that the model before showed, while another one was read."""

    def tell_failures(self, picture: Picture, revision: int) -> None:
        """What a picture had to do without: once, not with every frame."""
        for error in picture.failures:
            if error.sentence not in self.told:
                self.tell(
                    ErrorReport(
                        code=CONTROL_FAILED,
                        sentence=error.sentence,
                        action=error.action,
                        revision=revision,
                    )
                )
        self.told = frozenset(error.sentence for error in picture.failures)

    def known(self, job: Job) -> tuple[Picture, bool] | None:
        """The picture of that very state, if it was made before, and whether it is refined."""
        if self.last is None:
            return None
        key, is_refined, picture = self.last
        fits = key == job.snapshot.key and (is_refined or job.work is not Work.REFINE)
        return (picture, is_refined) if fits else None

    def next_work(self, now_s: float) -> Work | None:
        """Live pictures first, then those of a batch, then the refining of a rested one."""
        work = self.pace.next_work(now_s)
        if self.batches.is_due(now_s) or (work is not Work.LIVE and self.batches.has_work()):
            return Work.BATCH
        return work


@dataclass(kw_only=True)
class Job:
    client: RenderClient
    work: Work
    snapshot: Snapshot
    started_with: int
    changed_at_s: float
    done_part: float = 0.0
    batch: Batch | None = None
    began_s: float = 0.0
    told_s: float = 0.0

    @property
    def request(self) -> FrameRequest | None:
        """What is to be rendered; None where there is nothing to start from."""
        if self.batch is not None:
            return self.batch.request
        return self.snapshot.request(full_quality=self.work is Work.REFINE)

    @property
    def queue_ms(self) -> float:
        """How long the change waited until its picture was begun."""
        return (self.began_s - self.changed_at_s) * 1000

    def note(self, done: int, total: int) -> None:
        """So many of its steps are done."""
        self.done_part = done / max(1, total)
