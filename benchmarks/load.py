"""A number of clients and a time enter; how a backend bore them leaves: memory, fairness, losses.

The server is the real one in a process of its own, its engine a quick stand-in: what is loaded is
everything around the networks. Most clients paint and wait for the frame; some flood it with
changes, some read slowly or never acknowledge, some come and go, and some hold large canvases.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from nijimi_backend.server import MAX_TOLD
from nijimi_backend.session.frames import MAX_FRAME_PIXELS
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import CANVAS, Frame, SetParams, Welcome
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.session import ClientSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.backend_process import BackendProcess

__all__ = ["LoadReport", "load_table", "measure"]

CANVAS_PX = 256
LARGE_PX = 1536
SAMPLE_S = 1.0
ROUNDS = 8
"""All clients leave and come back so often: what is held then, while nobody is there, is what
would have to grow. While they are there it comes and goes by whole canvases."""

WARM_UP_ROUNDS = 2
REST_S = 1.5
NOTABLE_PART = 0.05

WAITING_MESSAGES = 4


@dataclass(kw_only=True)
class _Painter:
    """What one client saw; filled while it runs."""

    kind: str
    pace_s: float
    frames: int = 0
    slowest_s: float = 0.0
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """``unfair``: how far the painter with the fewest or most frames is from the mean. ``slope``:
    MiB an hour that memory at rest grew after the first rounds, by least squares; ``noise`` is
    three times that slope's standard error. ``step_mib``: the median of what each of those rounds
    added. ``pace_s``: a painter's pause between two strokes. ``rest_mib``: memory after each
    round."""

    clients: int
    seconds: float
    kinds: dict[str, int]
    frames: int
    frames_a_second: float
    unfair: float
    slowest_s: float
    lost_connections: int
    rss_start_mib: float
    rss_most_mib: float
    bound_mib: float
    slope_mib_h: float
    noise_mib_h: float
    step_mib: float
    pace_s: float = 0.0
    rest_mib: list[float] = field(default_factory=list[float])

    @property
    def grows(self) -> bool:
        """By more than noise, by a part of what is held that is worth a word, and in most rounds:
        a heap that becomes larger once, and then stays so, is no leak."""
        grown_mib = min(self.slope_mib_h * self.seconds / 3600, self.step_mib * ROUNDS)
        return self.slope_mib_h > self.noise_mib_h and grown_mib > NOTABLE_PART * self.rss_most_mib


def measure(clients: int, seconds: float, pace_s: float = 0.0) -> LoadReport:
    """Load a fresh backend for so long. ``pace_s``: a painter's pause between two strokes."""
    with BackendProcess("--max-clients", str(clients + 8), quick=True) as backend:
        return asyncio.run(_measure(backend, clients, seconds, pace_s))


def bound_mib(clients: int, planes_bytes: int) -> float:
    """The formula: what the server may hold beside its own process.

    planes (at most the budget) + clients * (queued messages + two frames + what is to be told)
    """
    limits = Limits()
    frame_bytes = 4 * MAX_FRAME_PIXELS
    each = WAITING_MESSAGES * limits.max_message_bytes + 2 * frame_bytes + MAX_TOLD * 4096
    return (planes_bytes + clients * each) / 2**20


async def _measure(
    backend: BackendProcess, clients: int, seconds: float, pace_s: float
) -> LoadReport:
    roles = _roles(clients)
    start_mib = most_mib = rss_mib(backend.process.pid)
    started = time.monotonic()
    painters = [_Painter(kind=kind, pace_s=pace_s) for kind in roles]
    at_rest: list[tuple[float, float]] = []
    for number in range(1, ROUNDS + 1):
        end_s = started + seconds * number / ROUNDS - REST_S
        tasks = [
            asyncio.create_task(_ROLES[painter.kind](backend, painter, end_s, 1000 * number + n))
            for n, painter in enumerate(painters)
        ]
        while time.monotonic() < end_s:
            await asyncio.sleep(SAMPLE_S)
            assert backend.process.poll() is None, "the backend ended under load"
            most_mib = max(most_mib, rss_mib(backend.process.pid))
        await asyncio.gather(*tasks)
        await asyncio.sleep(REST_S)
        at_rest.append((time.monotonic() - started, rss_mib(backend.process.pid)))
    slope, noise = _slope(at_rest[WARM_UP_ROUNDS:])
    counts = [painter.frames for painter in painters if painter.kind == "paints"]
    mean = statistics.mean(counts)
    large = roles.count("holds a large canvas")
    planes = 5 * 4 * ((clients - large) * CANVAS_PX**2 + large * LARGE_PX**2)
    return LoadReport(
        clients=clients,
        seconds=round(seconds, 1),
        pace_s=pace_s,
        kinds={kind: roles.count(kind) for kind in _ROLES},
        frames=sum(painter.frames for painter in painters),
        frames_a_second=round(sum(counts) / seconds, 1),
        unfair=round(max(max(counts) - mean, mean - min(counts)) / max(mean, 1), 3),
        slowest_s=round(max(painter.slowest_s for painter in painters), 2),
        lost_connections=sum(painter.lost for painter in painters),
        rss_start_mib=round(start_mib, 1),
        rss_most_mib=round(most_mib, 1),
        bound_mib=round(start_mib + bound_mib(clients, planes), 1),
        slope_mib_h=round(slope, 2),
        noise_mib_h=round(noise, 2),
        step_mib=round(_step([mib for _, mib in at_rest[WARM_UP_ROUNDS:]]), 2),
        rest_mib=[round(mib, 1) for _, mib in at_rest],
    )


def _roles(clients: int) -> list[str]:
    """One in ten of each difficult kind, the rest paint."""
    few = max(1, clients // 10)
    difficult = [kind for kind in _ROLES if kind != "paints" for _ in range(few)]
    return difficult + ["paints"] * (clients - len(difficult))


class _Link:
    """One open session on an asyncio socket."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket, self.session = socket, ClientSession(token=token, client="load")

    async def open(self, side_px: int) -> None:
        await self.socket.send(self.session.hello())
        while not isinstance(await self.receive(), Welcome):
            pass
        extent = Extent(side_px, side_px)
        await self.socket.send(self.session.set_plane(CANVAS, extent, PixelFormat.BGRA8))
        params = RenderParams(prompt="load", num_inference_steps=1, refine=False)
        await self.socket.send(self.session.set_params(SetParams(revision=0, params=params)))

    async def receive(self) -> Any:
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        return self.session.receive(data)

    async def next_frame(self) -> int:
        """The revision of the next frame, which is acknowledged; other messages are passed over."""
        while True:
            event = await self.receive()
            if isinstance(event, Frame):
                await self.socket.send(self.session.ack(event.frame_id))
                return event.revision

    async def paint(self, chance: random.Random, side_px: int = CANVAS_PX) -> None:
        at = chance.randrange(side_px - 64), chance.randrange(side_px - 64)
        area = Bounds(*at, 64, 64)
        pixels = chance.randbytes(4) * area.extent.pixels
        tile = pack_tile(area, PixelFormat.BGRA8, pixels, Encoding.RAW)
        for data in self.session.update_tiles(CANVAS, [tile]):
            await self.socket.send(data)


@contextlib.asynccontextmanager
async def _session(
    backend: BackendProcess, painter: _Painter, side_px: int = CANVAS_PX
) -> AsyncGenerator[_Link]:
    """A session with a canvas of its own; that it was lost is counted, and ends it."""
    try:
        async with connect(
            f"ws://127.0.0.1:{backend.port}/nijimi",
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            max_size=None,
            open_timeout=30,
        ) as socket:
            link = _Link(socket, backend.token)
            await link.open(side_px)
            yield link
    except (ConnectionClosed, OSError):
        painter.lost += 1


async def _paint(backend: BackendProcess, painter: _Painter, end_s: float, seed: int) -> None:
    """Paint, wait for the frame that shows it, paint again."""
    chance = random.Random(seed)
    async with _session(backend, painter) as link:
        while time.monotonic() < end_s:
            await link.paint(chance)
            wanted, asked = link.session.revision, time.monotonic()
            while await link.next_frame() < wanted:
                pass
            painter.frames += 1
            painter.slowest_s = max(painter.slowest_s, time.monotonic() - asked)
            await asyncio.sleep(min(painter.pace_s, max(0.0, end_s - time.monotonic())))


async def _flood(backend: BackendProcess, painter: _Painter, end_s: float, seed: int) -> None:
    """Change after change, as fast as the socket takes them; frames are acknowledged."""
    chance = random.Random(seed)
    async with _session(backend, painter) as link:
        reader = asyncio.create_task(_count_frames(link, painter))
        while time.monotonic() < end_s:
            await link.paint(chance)
            await asyncio.sleep(painter.pace_s / 20)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader


async def _read_slowly(backend: BackendProcess, painter: _Painter, end_s: float, seed: int) -> None:
    """Go on painting, but take a message only every other second, and acknowledge nothing."""
    chance = random.Random(seed)
    async with _session(backend, painter) as link:
        while time.monotonic() < end_s:
            await link.paint(chance)
            await asyncio.sleep(min(2.0, max(0.0, end_s - time.monotonic())))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.receive(), 0.05)


async def _come_and_go(backend: BackendProcess, painter: _Painter, end_s: float, seed: int) -> None:
    """A new session every second; half of them end without a goodbye."""
    chance = random.Random(seed)
    while time.monotonic() < end_s:
        async with _session(backend, painter) as link:
            await link.paint(chance)
            await asyncio.sleep(min(1.0, max(0.0, end_s - time.monotonic())))
            if chance.random() < 0.5:
                link.socket.transport.abort()


async def _hold_much(backend: BackendProcess, painter: _Painter, end_s: float, seed: int) -> None:
    """A large canvas, a small change now and then."""
    chance = random.Random(seed)
    async with _session(backend, painter, LARGE_PX) as link:
        while time.monotonic() < end_s:
            await link.paint(chance, LARGE_PX)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await _count_frames(link, painter)


async def _count_frames(link: _Link, painter: _Painter) -> None:
    """Until somebody ends it."""
    while True:
        await link.next_frame()
        painter.frames += 1


_Role = Callable[[BackendProcess, _Painter, float, int], Coroutine[Any, Any, None]]

_ROLES: dict[str, _Role] = {
    "paints": _paint,
    "floods": _flood,
    "reads slowly": _read_slowly,
    "comes and goes": _come_and_go,
    "holds a large canvas": _hold_much,
}


def rss_mib(pid: int) -> float:
    """Resident memory of a process (Linux: proc(5), statm)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _slope(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """MiB an hour by least squares, and three standard errors of it."""
    times, values = zip(*samples, strict=True)
    slope, offset = statistics.linear_regression(times, values)
    left = [mib - (offset + slope * at) for at, mib in samples]
    spread = statistics.pvariance(times) * len(times)
    error = (sum(value**2 for value in left) / (len(samples) - 2) / spread) ** 0.5
    return 3600 * slope, 3 * 3600 * error


def _step(rest_mib: list[float]) -> float:
    return statistics.median(after - before for before, after in pairwise(rest_mib))


def load_table(report: LoadReport) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    verdict = "grows" if report.grows else "does not grow"
    return "\n".join(
        [
            f"{report.clients} clients for {report.seconds:.0f} s: {kinds}",
            f"frames            {report.frames} ({report.frames_a_second} a second to painters)",
            f"fairness          within {100 * report.unfair:.1f} % of the mean",
            f"slowest frame     {report.slowest_s} s",
            f"lost connections  {report.lost_connections}",
            f"memory, MiB       {report.rss_start_mib} at first, {report.rss_most_mib} at most, "
            f"{report.bound_mib} by the formula",
            f"at rest, MiB      {', '.join(str(mib) for mib in report.rest_mib)}",
            f"slope             {report.slope_mib_h} MiB an hour, noise {report.noise_mib_h}, "
            f"a round adds {report.step_mib} MiB: {verdict}",
        ]
    )
