"""WebSocket connections enter; each is joined to the worker by a session of its own.

A request with an Origin header (a web page) or a foreign Host (DNS rebinding) is refused before the
handshake; the token is asked in the first message.

Memory is bounded: planes by their budget, and of ``max_clients`` clients each by ``_MAX_QUEUED``
messages that wait to be read, two frames, one picture of a batch, and ``MAX_TOLD`` states that wait
to be sent. What batches keep of a canvas comes out of the same budget.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections import deque
from collections.abc import Callable

from nijimi_protocol.errors import MalformedMessage, RejectedChange, RemoteProtocolError
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    Ack,
    BatchPhase,
    BatchState,
    Cancel,
    CancelBatch,
    ErrorReport,
    Generate,
    Hello,
    Message,
    ModelEntry,
    Models,
    OrderBatches,
    Progress,
    SetControls,
    Status,
)
from nijimi_protocol.params import RenderParams
from nijimi_protocol.session import ServerSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .access import Access
from .errors import PortTaken
from .session.budget import PlaneBudget
from .session.frames import Finished, FrameMaker, Made, made_messages
from .session.jobs import RenderClient
from .session.mailbox import Mailbox
from .session.memory import give_memory_back
from .session.outbox import Outbox
from .session.same_core import SameCore
from .session.worker import Worker

__all__ = ["CLOSE_CODES", "HELLO_TIMEOUT_S", "NijimiServer"]

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 5.0
LIBRARY_LOOK_S = 2.0
"""A file that is dropped into a folder of models is listed within this time."""

MAX_TOLD = 64
"""States and errors that may wait for a slow reader; older ones are dropped, and of progress
all but the newest."""

CLOSE_CODES = {
    "malformed": 4400,
    "out_of_order": 4400,
    "unauthorized": 4401,
    "version": 4406,
    "oversized": 4413,
}

_MAX_QUEUED = 4

MAX_CLIENTS = 64
BUDGET_BYTES = 4 * 1024**3
"""For the planes of all clients: a canvas of 4096 px takes 320 MiB."""


class _Connection:
    """One client: its socket, its session, and what waits to be sent."""

    def __init__(
        self,
        socket: ServerConnection,
        session: ServerSession,
        worker: Worker,
        budget: PlaneBudget,
        on_generate: Callable[[RenderParams], None],
        core: SameCore,
    ) -> None:
        self._socket = socket
        self._session = session
        self._worker = worker
        self._on_generate = on_generate
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._finished: Mailbox[Finished] = Mailbox()
        self._told: deque[Models | Status | ErrorReport] = deque(maxlen=MAX_TOLD)
        self._progress: deque[Progress] = deque(maxlen=1)
        self._frames = FrameMaker()
        self._last_sent: Finished | None = None
        self._wake = asyncio.Event()
        self._batches = Outbox()
        self._client = RenderClient(self._deliver, self.tell, budget, self._deliver_made)

    async def run(self) -> None:
        """Serve until either end closes. A fatal error is told before the connection ends."""
        sender: asyncio.Task[None] | None = None
        try:
            first = await asyncio.wait_for(self._socket.recv(), HELLO_TIMEOUT_S)
            self._receive(first)
            await self._socket.send(self._session.welcome())
            log.info("client connected: %s", self._session.client[:80])
            sender = asyncio.create_task(self._send_all())
            self._worker.add(self._client)
            async for data in self._socket:
                self._receive(data)
        except TimeoutError:
            await self._socket.close(4408, "no Hello in time")
        except RemoteProtocolError as error:
            log.warning("connection ended: %s", error.sentence)
            await self._refuse(error)
        except ConnectionClosed:
            log.info("client went away")
        finally:
            self._worker.remove(self._client)
            if sender is not None:
                sender.cancel()
                # It holds the frame that it sent last.
                await asyncio.wait([sender])
            self._finished.take()
            self._last_sent = None
            self._batches.clear()
            self._frames.forget()
            # The worker may still be at a picture for it. With no circle between the two, that
            # goes when it is made, not when Python looks for circles.
            del self._client

    def _receive(self, data: str | bytes) -> None:
        if isinstance(data, str):
            raise MalformedMessage("Text was sent where binary messages are expected.")
        try:
            event = self._session.receive(data)
            if isinstance(event, Hello):
                return
            self._apply(event)
        except RejectedChange as error:
            self.tell(
                ErrorReport(
                    code=error.code,
                    sentence=error.sentence,
                    action=error.action,
                    revision=error.revision,
                )
            )

    def _apply(self, event: Message) -> None:
        if isinstance(event, Ack):
            self._frames.acknowledged(event.frame_id)
            if event.frame_id == 0 and self._last_sent is not None:
                self._finished.put_if_empty(self._last_sent)
            self._wake.set()
        elif isinstance(event, Cancel):
            self._worker.cancel(self._client)
        elif isinstance(event, Generate):
            self._generate(event)
        elif isinstance(event, CancelBatch):
            self._worker.cancel_batch(self._client, event.batch_id)
        elif isinstance(event, OrderBatches):
            self._worker.order_batches(self._client, event.batch_ids)
        elif self._client.state.apply(event):
            self._worker.changed(self._client, of_controls=isinstance(event, SetControls))

    async def _refuse(self, error: RemoteProtocolError) -> None:
        try:
            await self._socket.send(self._session.refusal(error))
            await self._socket.close(CLOSE_CODES.get(error.code, 4400), error.code)
        except ConnectionClosed:
            log.info("client went away before it heard why")

    def _deliver(self, finished: Finished) -> None:
        """Called by the worker's thread, which rests when there is no newer state."""
        self._finished.put(finished)
        self._core.call()
        self._notify()

    def _generate(self, event: Generate) -> None:
        """A batch that is refused is over: its client waits for nothing more of it."""
        try:
            self._worker.generate(self._client, event)
            self._on_generate(event.params)
        except RejectedChange as error:
            self.tell(
                BatchState(
                    batch_id=event.batch_id,
                    state=BatchPhase.FAILED,
                    sentence=error.sentence,
                    action=error.action,
                )
            )

    def _deliver_made(self, made: Made) -> None:
        """Called by the worker's thread, never before the last one was sent."""
        self._batches.put(made)
        self._notify()

    def tell(self, message: Models | Status | Progress | ErrorReport | BatchState) -> None:
        """Called by the worker's thread, too; a deque's append is atomic."""
        if isinstance(message, Progress):
            self._progress.append(message)
        elif isinstance(message, BatchState):
            self._batches.put(message)
        else:
            self._told.append(message)
        self._notify()

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._woken)
        except RuntimeError:
            log.debug("the server ended while a picture was on its way")

    def _woken(self) -> None:
        self._core.free()
        self._wake.set()

    async def _send_batches(self) -> None:
        """A large picture takes as many messages as it needs."""
        while item := self._batches.take():
            if isinstance(item, BatchState):
                await self._socket.send(self._session.send(item))
                continue
            limit_bytes = self._session.max_message_bytes
            for part in made_messages(item, self._session.encodings, limit_bytes):
                await self._socket.send(self._session.send(part))
            self._worker.made_sent(self._client)

    async def _send_all(self) -> None:
        """Send what waits; a frame only when the client has acknowledged the last one."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._progress or self._told:
                    waiting = self._progress or self._told
                    await self._socket.send(self._session.send(waiting.popleft()))
                await self._send_batches()
                if self._session.ready_for_frame and (finished := self._finished.take()):
                    self._last_sent = finished
                    frame = self._frames.make(finished, self._session.encodings)
                    await self._socket.send(self._session.send_frame(frame))
        except ConnectionClosed:
            log.debug("sending ended with the connection")
        except Exception:
            # A client that hears nothing more must not be left waiting: it connects anew.
            log.exception("sending failed")
            await self._socket.close(1011, "internal")


class NijimiServer:
    """Listens on loopback and serves clients until it is closed."""

    def __init__(
        self,
        worker: Worker,
        *,
        token: str,
        models: Callable[[], tuple[ModelEntry, ...]],
        on_generate: Callable[[RenderParams], None] = lambda _params: None,
        limits: Limits | None = None,
        access: Access | None = None,
        max_clients: int = MAX_CLIENTS,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self._worker = worker
        self._access = access or Access()
        self._max_clients = max_clients
        self._open = 0
        self.budget = PlaneBudget(budget_bytes)
        self._token = token
        self._models = models
        self._on_generate = on_generate
        self._limits = limits or Limits()
        self._server: Server | None = None
        self._connections: set[_Connection] = set()
        self._known: tuple[ModelEntry, ...] = ()
        self._looking = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self._core = SameCore()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises ``PortTaken``."""
        try:
            self._server = await serve(
                self._serve,
                self._access.host,
                port,
                ssl=self._access.tls,
                subprotocols=[SUBPROTOCOL],  # pyright: ignore[reportArgumentType]
                # Pictures do not shrink, and deflating them costs 90 ms a megabyte.
                compression=None,
                # None stands for "no Origin header": web pages always send one.
                origins=[None],
                process_request=self._check_request,
                # A little more than the session takes, so that it is the session that refuses.
                max_size=self._limits.max_message_bytes + 65536,
                max_queue=_MAX_QUEUED,
                ping_interval=10,
                ping_timeout=30,
                server_header=None,
            )
        except OSError as error:
            raise PortTaken(
                f"Port {port} cannot be used ({error.strerror}).",
                "Choose another one with --port, or 0 for any that is free.",
            ) from error
        self._core.sleeper()
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._watcher = asyncio.create_task(self._watch_models())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._open >= self._max_clients:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._max_clients} clients are connected, and more are not taken.\n",
            )
        return self._access.check(connection, request)

    async def _serve(self, socket: ServerConnection) -> None:
        self._open += 1
        try:
            await self._serve_one(socket)
        finally:
            self._open -= 1

    async def _serve_one(self, socket: ServerConnection) -> None:
        session = ServerSession(
            token=self._token,
            device=self._worker.status.device,
            models=await self._look(),
            limits=self._limits,
        )
        connection = _Connection(
            socket, session, self._worker, self.budget, self._on_generate, self._core
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            del connection, session
            give_memory_back()

    async def _watch_models(self) -> None:
        """Tell every client when a model came or went; while there is none, look at nothing."""
        while True:
            await asyncio.sleep(LIBRARY_LOOK_S)
            if not self._connections:
                continue
            try:
                await self._look()
            except OSError:
                log.warning("the folders of models cannot be read", exc_info=True)

    async def _look(self) -> tuple[ModelEntry, ...]:
        """What can be loaded now; who is connected hears of what is new."""
        async with self._looking:
            # Reading the headers of a large collection for the first time takes seconds.
            found = await asyncio.to_thread(self._models)
        if found != self._known:
            self._known = found
            for connection in tuple(self._connections):
                connection.tell(Models(models=found))
        return found
