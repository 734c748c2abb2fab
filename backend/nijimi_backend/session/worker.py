"""Clients' newest states enter; finished pictures, status and errors leave, from one thread.

The thread owns the engine: torch is imported, the model loaded and every frame rendered there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.limits import MAX_BATCHES
from nijimi_protocol.messages import (
    BatchPhase,
    BatchState,
    ErrorReport,
    Generate,
    Status,
)

from ..engine.request import FrameRequest
from ..errors import DeviceLost, NijimiError, RenderCancelled
from .batches import Batch
from .engine_seat import EngineSeat
from .frames import Finished, Made
from .jobs import EngineLike, EngineOpener, Job, RenderClient, Told
from .memory import give_memory_back
from .pace import Work
from .stage_times import StageTimes

__all__ = ["Worker"]

log = logging.getLogger(__name__)

_BATCH_TOLD_S = 0.2
"""Between two reports of how far a batch is."""

_NOTHING_THERE = ErrorReport(
    code="nothing_to_render",
    sentence="There is no picture to start from, or nothing is selected.",
    action="Open a document, or select what is to be repainted.",
)


class Worker:
    """Renders for all clients in turn."""

    def __init__(
        self,
        open_engine: EngineOpener,
        model_name: str = "",
        on_lost: Callable[[NijimiError], None] = lambda error: None,
    ) -> None:
        """``on_lost`` hears that the device is gone: a new process is needed."""
        self._on_lost = on_lost
        self._default_model = model_name
        self._seat = EngineSeat(
            open_engine, model_name, self._tell_all, self._say, self._paint_between
        )
        self._clients: list[RenderClient] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._changes = 0
        self._times = StageTimes()
        self._status = Status(state="starting", device="", model="", text="Starting.")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def status(self) -> Status:
        return self._status

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """End the thread; a frame in flight is given up between two steps."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def add(self, client: RenderClient) -> None:
        with self._changed:
            self._clients.append(client)
            client.tell(self._status)

    def remove(self, client: RenderClient) -> None:
        with self._changed:
            if client in self._clients:
                self._clients.remove(client)
            client.pace.live = False
            client.batches.clear()
            self._changed.notify_all()
        client.last = None
        client.state.close()

    def changed(self, client: RenderClient, *, of_controls: bool = False) -> None:
        """A complete change reached the client's mirror.

        After one ``of_controls`` the client is told again what cannot be.
        """
        params = client.state.params
        if of_controls:
            client.told = frozenset()
        with self._changed:
            client.pace.live = params.live
            client.pace.refine = params.refine
            client.pace.change(time.monotonic())
            self._changes += 1
            self._changed.notify_all()

    def cancel(self, client: RenderClient) -> None:
        with self._changed:
            client.pace.cancel()

    def generate(self, client: RenderClient, wish: Generate) -> None:
        """Queue a batch of the client's state as it is now.

        Raises ``RejectedChange`` where there is no memory to keep that state.
        """
        if client.batches.is_full:
            raise RejectedChange(
                "too_many_batches",
                f"{MAX_BATCHES} batches are waiting already.",
                "Wait for one to end, or cancel one.",
            )
        name = _kept_as(wish.batch_id)
        snapshot = client.state.keep(name, wish.params, wish.upscale, wish.plane)
        batch = Batch.wished(wish, snapshot)
        with self._changed:
            client.batches.add(batch)
            client.tell(batch.state(BatchPhase.WAITING))
            self._changed.notify_all()

    def cancel_batch(self, client: RenderClient, batch_id: int) -> None:
        with self._changed:
            batch = client.batches.cancel(batch_id)
            self._changed.notify_all()
        if batch is not None:
            client.state.let_go(_kept_as(batch.id))
            client.tell(batch.state(BatchPhase.CANCELLED))

    def order_batches(self, client: RenderClient, batch_ids: tuple[int, ...]) -> None:
        with self._changed:
            client.batches.order(batch_ids)

    def made_sent(self, client: RenderClient) -> None:
        """A picture of a batch is on its way: the next one may be made."""
        with self._changed:
            client.batches.unsent -= 1
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            if self._seat.engine is None and not self._seat.load(self._default_model):
                self._wait_for_another_model()
                continue
            job = self._wait_for_job()
            if job is None:
                continue
            self._serve(job)
            has_left = job.client not in self._clients
            # Nothing of it is held while the next one is waited for.
            del job
            if has_left:
                give_memory_back()
        if summary := self._times.summary(time.monotonic()):
            log.info("frames", extra={"data": summary})

    def _wait_for_another_model(self) -> None:
        """Nothing works without a model: wait until a client's change asks for one to be tried."""
        with self._changed:
            seen = self._changes
            self._changed.wait_for(
                lambda: self._stopping or (self._changes > seen and self._loadable() is not None)
            )
            self._default_model = self._loadable() or self._default_model

    def _loadable(self) -> str | None:
        """A model that a client wants, or the default one, if it may be tried (again)."""
        now = time.monotonic()
        for client in self._clients:
            name = client.state.params.model or self._default_model
            if client.pace.changes and self._seat.refusals.may_try(name, now):
                return name
        return None

    def _wait_for_job(self) -> Job | None:
        with self._changed:
            if self._stopping:
                return None
            now = time.monotonic()
            for n, client in enumerate(self._clients):
                work = client.next_work(now)
                if work is None:
                    continue
                # The one that was served goes to the end: everybody gets a turn.
                self._clients.append(self._clients.pop(n))
                return self._job(client, work, now)
            waits = [client.pace.wake_in_s(now) for client in self._clients]
            timed = [wait for wait in waits if wait is not None]
            self._changed.wait(min(timed) if timed else None)
            return None

    def _job(self, client: RenderClient, work: Work, now_s: float) -> Job:
        """Of the client's state as it is now; the lock is held."""
        batch = client.batches.take() if work is Work.BATCH else None
        return Job(
            client=client,
            work=work,
            snapshot=batch.snapshot if batch is not None else client.state.snapshot(),
            started_with=client.pace.changes,
            changed_at_s=client.pace.changed_at_s,
            batch=batch,
            began_s=now_s,
        )

    def _serve(self, job: Job) -> None:
        client, snapshot = job.client, job.snapshot
        wanted = snapshot.params.model or self._seat.wanted
        engine = self._seat.engine
        if engine is not None and wanted and wanted != engine.model.name:
            is_known = not self._seat.refusals.may_try(wanted, time.monotonic())
            if is_known or not self._seat.load(wanted):
                report = self._seat.refusals.report(wanted)
                self._rest(job, report)
                if is_known and report is not None and job.batch is None:
                    client.tell(report)
                return
            if job.batch is None:
                # The state has gone on, and its copies with it: what is newest now is taken.
                return
            engine = self._seat.engine
        if job.batch is not None:
            request = job.batch.request
        else:
            request = snapshot.request(full_quality=job.work is Work.REFINE)
        if engine is None or request is None:
            self._rest(job, _NOTHING_THERE)
            return
        try:
            if job.batch is not None:
                self._make(job, job.batch, engine, request)
            else:
                self._render(job, engine, request)
        except RenderCancelled:
            if job.batch is not None:
                self._end_batch(job, job.batch.state(BatchPhase.CANCELLED))
                return
            with self._changed:
                client.pace.gave_up(job.work)
        except NijimiError as error:
            # Its sentence may quote what the painter wrote; the painter is told, the log is not.
            log.warning("rendering failed: %s", error.code)
            self._fail(job, error.code, error.sentence, error.action)
            if isinstance(error, DeviceLost):
                self._on_lost(error)
        except Exception:
            log.exception("rendering failed")
            self._fail(
                job,
                "internal",
                "The picture could not be rendered because of a fault in Nijimi.",
                "Change something to try again; the backend's log says more.",
            )

    def _render(self, job: Job, engine: EngineLike, request: FrameRequest) -> None:
        client, snapshot = job.client, job.snapshot
        queue_ms = (time.monotonic() - job.changed_at_s) * 1000
        refine = job.work is Work.REFINE
        known = client.last
        if known is not None and known[0] == snapshot.key and (known[1] or not refine):
            picture = known[2]
            is_refined = known[1]
        else:
            picture = engine.render(request, lambda: self._should_stop(job), job.note)
            is_refined = refine
            client.last = (snapshot.key, refine, picture)
        client.tell_failures(picture, snapshot.revision)
        with self._changed:
            client.pace.finished(job.work, job.started_with)
            if is_refined:
                client.pace.refined = max(client.pace.refined, job.started_with)
            final = is_refined or not snapshot.params.refine
        timings_ms = {**picture.timings_ms, "queue": 0.0 if refine else queue_ms}
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
        picture = engine.render(request, lambda: self._stopping or batch.is_cancelled, note)
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

    def _end_batch(self, job: Job, state: BatchState) -> None:
        with self._changed:
            job.client.batches.over()
        job.client.state.let_go(_kept_as(state.batch_id))
        job.client.tell(state)

    def _should_stop(self, job: Job) -> bool:
        if self._stopping:
            return True
        return job.client.pace.should_give_up(job.work, job.started_with, job.done_part)

    def _rest(self, job: Job, why: ErrorReport | None = None) -> None:
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
        self._rest(job, report)
        if job.batch is None:
            job.client.tell(report)

    def _paint_between(self, engine: EngineLike) -> bool:
        """One picture by the model before, while another is read; False where it cannot be."""
        job = self._changed_since_loading()
        return job is None or self._paint_meanwhile(job, engine)

    def _changed_since_loading(self) -> Job | None:
        """A live client whose newest state no picture shows, not even one by the model before."""
        with self._changed:
            for client in self._clients:
                pace = client.pace
                wants = pace.live and not pace.cancelled and pace.shown < pace.changes
                if wants and client.meanwhile < pace.changes:
                    client.meanwhile = pace.changes
                    return self._job(client, Work.LIVE, time.monotonic())
        return None

    def _paint_meanwhile(self, job: Job, engine: EngineLike) -> bool:
        """It is not noted as shown: the model that is wanted will show that state, too."""
        request = job.snapshot.request(full_quality=False)
        if request is None:
            return True
        try:
            picture = engine.render(request, lambda: self._stopping, job.note)
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

    def _say(self, status: Status) -> None:
        with self._changed:
            self._status = status
        self._tell_all(status)

    def _tell_all(self, message: Told) -> None:
        with self._changed:
            for client in self._clients:
                client.tell(message)


def _kept_as(batch_id: int) -> str:
    return f"batch:{batch_id}"
