"""Clients' newest states enter; finished pictures, status and errors leave, from one thread.

The thread owns the engine: torch is imported, the model loaded and every frame rendered there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nijimi_protocol.messages import CONTROL_FAILED, ErrorReport, Progress, Status

from ..engine.request import FrameRequest, Picture
from ..errors import DeviceLost, NijimiError, RenderCancelled
from .budget import PlaneBudget
from .canvas_state import CanvasState, Snapshot
from .frames import Finished
from .pace import Pace, Work
from .refusals import Refusals
from .stage_times import StageTimes

__all__ = ["EngineLike", "EngineOpener", "RenderClient", "Worker"]

log = logging.getLogger(__name__)


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


EngineOpener = Callable[[str, Callable[[str, int, int], None]], EngineLike]
"""Model name ("" for the default) and a progress callback in, a warm engine out."""


class RenderClient:
    """One connected client as the worker sees it. ``deliver`` and ``tell`` must not block."""

    def __init__(
        self,
        deliver: Callable[[Finished], None],
        tell: Callable[[Status | Progress | ErrorReport], None],
        budget: PlaneBudget | None = None,
    ) -> None:
        self.state = CanvasState(budget)
        self.pace = Pace()
        self.deliver = deliver
        self.tell = tell
        self.last: tuple[tuple[object, ...], bool, Picture] | None = None
        self.told: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class _Job:
    client: RenderClient
    work: Work
    snapshot: Snapshot
    started_with: int
    changed_at_s: float
    done_part: float = 0.0


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
        self._open_engine = open_engine
        self._default_model = model_name
        self._engine: EngineLike | None = None
        self._wanted = model_name
        self._refusals = Refusals()
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

    def _run(self) -> None:
        while not self._stopping:
            if self._engine is None and not self._load(self._default_model):
                self._wait_for_another_model()
                continue
            job = self._wait_for_job()
            if job is not None:
                self._serve(job)
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
            if client.pace.changes and self._refusals.may_try(name, now):
                return name
        return None

    def _wait_for_job(self) -> _Job | None:
        with self._changed:
            if self._stopping:
                return None
            now = time.monotonic()
            for n, client in enumerate(self._clients):
                work = client.pace.next_work(now)
                if work is None:
                    continue
                # The one that was served goes to the end: everybody gets a turn.
                self._clients.append(self._clients.pop(n))
                return _Job(
                    client=client,
                    work=work,
                    snapshot=client.state.snapshot(),
                    started_with=client.pace.changes,
                    changed_at_s=client.pace.changed_at_s,
                )
            waits = [client.pace.wake_in_s(now) for client in self._clients]
            timed = [wait for wait in waits if wait is not None]
            self._changed.wait(min(timed) if timed else None)
            return None

    def _serve(self, job: _Job) -> None:
        client, snapshot = job.client, job.snapshot
        wanted = snapshot.params.model or self._wanted
        engine = self._engine
        if engine is not None and wanted and wanted != engine.model.name:
            if not self._refusals.may_try(wanted, time.monotonic()):
                self._rest(job)
                if report := self._refusals.report(wanted):
                    client.tell(report)
                return
            if not self._load(wanted):
                self._rest(job)
                return
            engine = self._engine
        request = snapshot.request(full_quality=job.work is Work.REFINE)
        if engine is None or request is None:
            self._rest(job)
            return
        try:
            self._render(job, engine, request)
        except RenderCancelled:
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

    def _render(self, job: _Job, engine: EngineLike, request: FrameRequest) -> None:
        client, snapshot = job.client, job.snapshot
        queue_ms = (time.monotonic() - job.changed_at_s) * 1000
        refine = job.work is Work.REFINE
        known = client.last
        if known is not None and known[0] == snapshot.key and (known[1] or not refine):
            picture = known[2]
            is_refined = known[1]
        else:
            picture = engine.render(
                request, lambda: self._should_stop(job), lambda done, total: _note(job, done, total)
            )
            is_refined = refine
            client.last = (snapshot.key, refine, picture)
        self._tell_failures(client, picture, snapshot.revision)
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

    @staticmethod
    def _tell_failures(client: RenderClient, picture: Picture, revision: int) -> None:
        """What a picture had to do without: once, not with every frame."""
        for error in picture.failures:
            if error.sentence not in client.told:
                client.tell(
                    ErrorReport(
                        code=CONTROL_FAILED,
                        sentence=error.sentence,
                        action=error.action,
                        revision=revision,
                    )
                )
        client.told = frozenset(error.sentence for error in picture.failures)

    def _should_stop(self, job: _Job) -> bool:
        if self._stopping:
            return True
        return job.client.pace.should_give_up(job.work, job.started_with, job.done_part)

    def _load(self, name: str) -> bool:
        """Load a model; on failure the old one stays, and every client hears why."""
        title = name or "the default model"
        self._say(Status(state="loading", device="", model=name, text=f"Loading {title}."))
        try:
            engine = self._open_engine(name, self._progress)
        except NijimiError as error:
            log.warning("loading failed: %s", error.code)
            self._refuse(name, error.code, error.sentence, error.action)
            return False
        except Exception:
            log.exception("loading failed")
            self._refuse(
                name,
                "internal",
                f"Loading {title} failed because of a fault in Nijimi.",
                "Run nijimi doctor; the backend's log says more.",
            )
            return False
        self._engine = engine
        self._wanted = engine.model.name
        self._refusals.forget(name)
        self._say(Status(state="ready", device=engine.device, model=engine.model.name))
        return True

    def _refuse(self, name: str, code: str, sentence: str, action: str) -> None:
        report = ErrorReport(code=code, sentence=sentence, action=action)
        self._refusals.note(name, report, time.monotonic())
        engine = self._engine
        self._tell_all(report)
        if engine is None:
            self._say(Status(state="failed", device="", model=name, text=sentence))
        else:
            self._say(Status(state="ready", device=engine.device, model=engine.model.name))

    def _rest(self, job: _Job) -> None:
        with self._changed:
            job.client.pace.failed(job.started_with)

    def _fail(self, job: _Job, code: str, sentence: str, action: str) -> None:
        self._rest(job)
        revision = job.snapshot.revision
        job.client.tell(ErrorReport(code=code, sentence=sentence, action=action, revision=revision))

    def _progress(self, label: str, done: int, total: int) -> None:
        self._tell_all(Progress(label=label, done=done, total=total))

    def _say(self, status: Status) -> None:
        with self._changed:
            self._status = status
        self._tell_all(status)

    def _tell_all(self, message: Status | Progress | ErrorReport) -> None:
        with self._changed:
            for client in self._clients:
                client.tell(message)


def _note(job: _Job, done: int, total: int) -> None:
    job.done_part = done / max(1, total)
