"""Clients' newest states enter; finished pictures, status and errors leave, from one thread.

The thread owns the engine: torch is imported, the model loaded and every frame rendered there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Hashable

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.limits import MAX_BATCHES
from nijimi_protocol.messages import (
    BatchPhase,
    Generate,
    Status,
)

from ..engine.request import FrameRequest
from ..errors import NijimiError
from .batches import Batch
from .engine_seat import EngineSeat
from .jobs import EngineLike, EngineOpener, Job, RenderClient, Told
from .memory import give_memory_back
from .pace import Work
from .serving import Serving, kept_as

__all__ = ["Worker"]

log = logging.getLogger(__name__)

MEMORY_REST_S = 5.0
"""Pause after which what the frames have used and left goes back to the system."""


class Worker:
    """Renders for all clients in turn."""

    def __init__(
        self,
        open_engine: EngineOpener,
        model_name: str = "",
        on_lost: Callable[[NijimiError], None] = lambda error: None,
    ) -> None:
        """``on_lost`` hears that the device is gone: a new process is needed."""
        self._default_model = model_name
        self._seat = EngineSeat(
            open_engine, model_name, self._tell_all, self._say, self._paint_between
        )
        self._clients: list[RenderClient] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._changes = 0
        self._keeps_memory = False
        self._serving = Serving(self._changed, self._next_of, lambda: self._stopping, on_lost)
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
        name = kept_as(wish.batch_id)
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
            client.state.let_go(kept_as(batch.id))
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
            self._keeps_memory = True
            self._serve(job)
            has_left = job.client not in self._clients
            # Nothing of it is held while the next one is waited for.
            del job
            if has_left:
                give_memory_back()
        self._serving.log_times()

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
            rest_s = MEMORY_REST_S if self._keeps_memory else None
            is_woken = self._changed.wait(min(timed) if timed else rest_s)
        if not is_woken and not timed:
            give_memory_back()
            self._keeps_memory = False
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
        wanted = self._wanted(job)
        engine = self._seat.engine
        if engine is not None and wanted and wanted != engine.model.name:
            is_known = not self._seat.refusals.may_try(wanted, time.monotonic())
            if is_known or not self._seat.load(wanted):
                report = self._seat.refusals.report(wanted)
                self._serving.rest(job, report)
                if is_known and report is not None and job.batch is None:
                    job.client.tell(report)
                return
            if job.batch is None:
                # The state has gone on, and its copies with it: what is newest now is taken.
                return
            engine = self._seat.engine
        assert engine is not None, "no job is taken without one"
        self._serving.serve(job, engine)

    def _wanted(self, job: Job) -> str:
        """The name of the model that the job asks for."""
        return job.snapshot.params.model or self._seat.wanted

    def _next_of(
        self, engine: EngineLike, kind: Hashable, running: Collection[RenderClient]
    ) -> tuple[Job, FrameRequest] | None:
        """The next in turn, if its picture is of that kind; nobody overtakes one that is not."""
        with self._changed:
            now = time.monotonic()
            waiting = (client for client in self._clients if client not in running)
            found = next(((each, work) for each in waiting if (work := each.next_work(now))), None)
            if found is None or found[1] is Work.BATCH:
                return None
            job = self._job(*found, now)
        request, wanted = job.request, self._wanted(job)
        if request is None or (wanted and wanted != engine.model.name):
            return None
        if job.client.known(job) or engine.joins(request) != kind:
            return None
        with self._changed:
            if job.client not in self._clients:
                return None
            self._clients.remove(job.client)
            self._clients.append(job.client)
        return job, request

    def _paint_between(self, engine: EngineLike) -> bool:
        """One picture by the model before, while another is read; False where it cannot be."""
        job = self._changed_since_loading()
        return job is None or self._serving.paint_meanwhile(job, engine)

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

    def _say(self, status: Status) -> None:
        with self._changed:
            self._status = status
        self._tell_all(status)

    def _tell_all(self, message: Told) -> None:
        with self._changed:
            for client in self._clients:
                client.tell(message)
