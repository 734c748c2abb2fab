"""A job and an engine enter; its picture, or why there is none, reaches the client.

On the worker's thread, which has chosen both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import replace

from nijimi_protocol.messages import BatchPhase, BatchState, ErrorReport

from ..engine.request import FrameRequest, Picture
from ..errors import DeviceLost, NijimiError, RenderCancelled
from .batches import Batch
from .frames import Finished, Made
from .jobs import EngineLike, Job, RenderClient
from .pace import Work
from .rounds import rounds
from .stage_times import StageTimes

__all__ = ["NextOf", "Serving", "kept_as"]

log = logging.getLogger(__name__)

_BATCH_TOLD_S = 0.2
"""Between two reports of how far a batch is."""

_NOTHING_THERE = ErrorReport(
    code="nothing_to_render",
    sentence="There is no picture to start from, or nothing is selected.",
    action="Open a document, or select what is to be repainted.",
)

NextOf = Callable[[EngineLike, Hashable, Collection[RenderClient]], tuple[Job, FrameRequest] | None]
"""The next job that may join pictures of that kind, of none of those clients."""


class Serving:
    """What becomes of jobs; ``changed`` guards clients and their batches."""

    def __init__(
        self,
        changed: threading.Condition,
        next_of: NextOf,
        is_stopping: Callable[[], bool],
        on_lost: Callable[[NijimiError], None],
    ) -> None:
        self._changed = changed
        self._next_of = next_of
        self._is_stopping = is_stopping
        self._on_lost = on_lost
        self._times = StageTimes()

    def log_times(self) -> None:
        """What the stages took since it was logged last."""
        if summary := self._times.summary(time.monotonic()):
            log.info("frames", extra={"data": summary})

    def serve(self, job: Job, engine: EngineLike) -> None:
        """Make the picture and hand it over, or tell why there is none."""
        request = job.request
        if request is None:
            self.rest(job, _NOTHING_THERE)
            return
        try:
            if job.batch is not None:
                self._make(job, job.batch, engine, request)
            elif (known := job.client.known(job)) is not None:
                self._show(job, *known)
            elif (kind := engine.joins(request)) is not None:
                self._render_together(job, engine, request, kind)
            else:
                self._render(job, engine, request)
        except Exception as error:  # noqa: BLE001 - logged there, and the thread goes on
            self._settle(job, error)

    def _render(self, job: Job, engine: EngineLike, request: FrameRequest) -> None:
        picture = engine.render(request, lambda: self._should_stop(job), job.note)
        self._show(job, picture, is_refined=job.work is Work.REFINE)

    def _render_together(
        self, job: Job, engine: EngineLike, request: FrameRequest, kind: Hashable
    ) -> None:
        """This one, and those of other clients that may join on the way."""
        under_way = rounds(
            engine.company(),
            job,
            request,
            lambda those: self._next_of(engine, kind, those),
            self._should_stop,
        )
        for ended, wish, outcome in under_way:
            if isinstance(outcome, Exception):
                self._settle(ended, outcome)
            elif outcome is not None:
                self._show(ended, outcome, is_refined=ended.work is Work.REFINE)
            else:
                self._render_alone(ended, engine, wish)

    def _render_alone(self, job: Job, engine: EngineLike, request: FrameRequest) -> None:
        try:
            self._render(job, engine, request)
        except Exception as error:  # noqa: BLE001 - as in ``serve``
            self._settle(job, error)

    def _show(self, job: Job, picture: Picture, is_refined: bool) -> None:
        client, snapshot = job.client, job.snapshot
        refine = job.work is Work.REFINE
        client.last = (snapshot.key, is_refined, picture)
        client.tell_failures(picture, snapshot.revision)
        with self._changed:
            client.pace.finished(job.work, job.started_with)
            if is_refined:
                client.pace.refined = max(client.pace.refined, job.started_with)
            final = is_refined or not snapshot.params.refine
        timings_ms = {**picture.timings_ms, "queue": 0.0 if refine else job.queue_ms}
        client.deliver(
            Finished(
                picture=picture, revision=snapshot.revision, final=final, timings_ms=timings_ms
            )
        )
        if summary := self._times.note(timings_ms, time.monotonic()):
            log.info("frames", extra={"data": summary})

    def _make(self, job: Job, batch: Batch, engine: EngineLike, request: FrameRequest) -> None:
        """One picture of a batch, which is told between steps how far it is."""
        client = job.client

        def note(done: int, total: int) -> None:
            batch.step, batch.steps = done, total
            now = time.monotonic()
            if now - job.told_s >= _BATCH_TOLD_S:
                job.told_s = now
                client.tell(batch.state(BatchPhase.RUNNING, now - job.began_s))

        batch.begin_picture()
        client.tell(batch.state(BatchPhase.RUNNING))
        picture = engine.render(request, lambda: self._is_stopping() or batch.is_cancelled, note)
        if batch.is_cancelled:
            raise RenderCancelled
        batch.spent_s += time.monotonic() - job.began_s
        client.tell_failures(picture, batch.snapshot.revision)
        with self._changed:
            client.batches.unsent += 1
        client.deliver_made(Made(picture=picture, batch_id=batch.id, index=batch.done))
        batch.done += 1
        batch.begin_picture()
        if batch.done == batch.count:
            self._end_batch(job, batch.state(BatchPhase.DONE))
        else:
            client.tell(batch.state(BatchPhase.RUNNING))

    def paint_meanwhile(self, job: Job, engine: EngineLike) -> bool:
        """It is not noted as shown: the model that is wanted will show that state, too."""
        request = job.snapshot.request(full_quality=False)
        if request is None:
            return True
        try:
            picture = engine.render(request, self._is_stopping, job.note)
        except (RenderCancelled, NijimiError):
            # Whatever it is will be told when the model that is wanted meets it.
            return False
        except Exception:
            # A fault of the model before must not end the loading of the other one.
            log.exception("the model before failed")
            return False
        at, timings = job.snapshot.revision, picture.timings_ms
        job.client.deliver(Finished(picture=picture, revision=at, final=False, timings_ms=timings))
        return True

    def _settle(self, job: Job, error: Exception) -> None:
        """There is no picture, and whoever waits for it hears why."""
        if isinstance(error, RenderCancelled):
            if job.batch is not None:
                self._end_batch(job, job.batch.state(BatchPhase.CANCELLED))
                return
            with self._changed:
                job.client.pace.gave_up(job.work)
        elif isinstance(error, NijimiError):
            # Its sentence may quote what the painter wrote; the painter is told, the log is not.
            log.warning("rendering failed: %s", error.code)
            self._fail(job, error.code, error.sentence, error.action)
            if isinstance(error, DeviceLost):
                self._on_lost(error)
        else:
            log.error("rendering failed", exc_info=error)
            self._fail(
                job,
                "internal",
                "The picture could not be rendered because of a fault in Nijimi.",
                "Change something to try again; the backend's log says more.",
            )

    def _end_batch(self, job: Job, state: BatchState) -> None:
        with self._changed:
            job.client.batches.over()
        job.client.state.let_go(kept_as(state.batch_id))
        job.client.tell(state)

    def rest(self, job: Job, why: ErrorReport | None = None) -> None:
        """The job cannot be done; live work waits for a change, a batch ends and says why."""
        if job.batch is not None:
            why = why or _NOTHING_THERE
            state = job.batch.state(BatchPhase.FAILED)
            self._end_batch(job, replace(state, sentence=why.sentence, action=why.action))
            return
        with self._changed:
            job.client.pace.failed(job.started_with)

    def _fail(self, job: Job, code: str, sentence: str, action: str) -> None:
        report = ErrorReport(
            code=code, sentence=sentence, action=action, revision=job.snapshot.revision
        )
        self.rest(job, report)
        if job.batch is None:
            job.client.tell(report)

    def _should_stop(self, job: Job) -> bool:
        if self._is_stopping():
            return True
        return job.client.pace.should_give_up(job.work, job.started_with, job.done_part)


def kept_as(batch_id: int) -> str:
    """The name of the copies that a batch keeps of its client's canvas."""
    return f"batch:{batch_id}"
