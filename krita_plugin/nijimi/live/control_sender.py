"""A document's control layers enter; updates with what changed of them leave.

A pose travels as joints, some hundred bytes; every other control as a plane of its own, in the
tiles that changed. They are complete before the list that names them is sent.
"""

from __future__ import annotations

import time
from typing import Any

from nijimi_protocol.client_session import ClientSession
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import ControlLayer, SetControls, SetPose
from nijimi_protocol.pixels import PixelFormat
from nijimi_protocol.pose import Person

from ..canvas.room import CanvasRoom
from ..canvas.tile_scan import Reader, TileScan
from ..link.connection import Connection
from ..model.controls import REGION, ControlRow
from ..model.metrics import Metrics
from ..texts import tr
from .tiles import send_tiles

__all__ = ["ControlSender"]

_TURN_S = 0.002
_BUDGET_BYTES = 192 * 1024


class ControlSender:
    """Mirrors the control layers of one document. ``look`` is cheap where nothing changed."""

    def __init__(self, room: CanvasRoom, connection: Connection, metrics: Metrics) -> None:
        self.problems: tuple[tuple[str, str], ...] = ()
        self.has_new_list = False
        """Whether the last look sent another list."""
        self._room = room
        self._connection = connection
        self._metrics = metrics
        self.forget()

    def forget(self) -> None:
        """The backend knows nothing of us, or of this document."""
        self._poses: dict[str, tuple[Person, ...]] = {}
        self._scans: dict[str, tuple[str, TileScan]] = {}
        self._sent: tuple[ControlLayer, ...] = ()

    def drop(self) -> None:
        """Another document is in front: the backend forgets this one's controls."""
        session = self._connection.session
        if session is not None and self._connection.is_open:
            if self._sent:
                self._connection.send(session.set_controls(SetControls(revision=0, controls=())))
            for row_id in self._scans:
                self._connection.send(session.drop_plane(_plane(row_id)))
        self.forget()

    def look(self, document: Any, rows: tuple[ControlRow, ...]) -> bool:
        """Send what changed. True where more is to be sent in the next turn."""
        session = self._connection.session
        if session is None or not self._connection.is_open:
            return False
        self.has_new_list = False
        extent = self._room.document_extent(document)
        problems: list[tuple[str, str]] = []
        layers: list[ControlLayer] = []
        has_more = False
        for row in rows:
            if not row.enabled:
                continue
            if row.kind == "pose" and not row.process:
                is_there = self._send_pose(session, document, row, problems)
            else:
                is_there, more = self._send_plane(session, document, row, extent)
                has_more = has_more or more
                if not is_there:
                    problems.append(
                        (
                            tr(
                                "The layer '{name}' of the control {kind} cannot be read.",
                                name=row.node_name,
                                kind=row.kind,
                            ),
                            tr(
                                "Choose a paint or vector layer of an RGB or grey document, in 8 "
                                "or 16 bit, or remove the control."
                            ),
                        )
                    )
            if is_there:
                layers.append(_layer_of(row))
        if not has_more:
            self._send_list(session, tuple(layers))
        self.problems = tuple(problems)
        return has_more

    def _send_pose(
        self,
        session: ClientSession,
        document: Any,
        row: ControlRow,
        problems: list[tuple[str, str]],
    ) -> bool:
        started = time.perf_counter()
        people = self._room.read_people(document, row.node_id)
        if people is None:
            problems.append(
                (
                    tr("The pose layer '{name}' is gone.", name=row.node_name),
                    tr("Bring it back by undo, or remove the control."),
                )
            )
            return False
        most = session.limits.max_people
        if len(people) > most:
            problems.append(
                (
                    tr(
                        "The pose layer '{name}' holds {count} people; the first {most} are used.",
                        name=row.node_name,
                        count=len(people),
                        most=most,
                    ),
                    tr("Move some to a layer of their own."),
                )
            )
            people = people[:most]
        if self._poses.get(row.id) != people:
            self._connection.send(session.set_pose(SetPose(revision=0, id=row.id, people=people)))
            self._poses[row.id] = people
            self._metrics.change(session.revision, started)
        return True

    def _send_plane(
        self, session: ClientSession, document: Any, row: ControlRow, extent: Extent
    ) -> tuple[bool, bool]:
        """Whether the layer could be read, and whether more of it is to be sent."""
        started = time.perf_counter()
        read = self._room.layer_reader(document, row.node_id)
        if read is None:
            return False, False
        # Of a region only counts what it covers: its colours may change as they like.
        is_region = row.kind == REGION
        format, reader = (
            (PixelFormat.GRAY8, _coverage(read)) if is_region else (PixelFormat.BGRA8, read)
        )
        node_id, scan = self._scans.get(row.id, ("", None))
        if scan is None or node_id != row.node_id or scan.extent != extent:
            self._connection.send(session.set_plane(_plane(row.id), extent, format))
            scan = TileScan(extent, format)
            self._scans[row.id] = (row.node_id, scan)
        result = scan.scan(reader, _BUDGET_BYTES, _TURN_S)
        send_tiles(self._connection, session, _plane(row.id), result.tiles, format)
        if result.tiles:
            self._metrics.change(session.revision, started)
        return True, result.has_more

    def _send_list(self, session: ClientSession, layers: tuple[ControlLayer, ...]) -> None:
        if layers != self._sent:
            self._connection.send(session.set_controls(SetControls(revision=0, controls=layers)))
            self._sent = layers
            self.has_new_list = True
        used = {layer.id for layer in layers if layer.plane}
        for row_id in [row_id for row_id in self._scans if row_id not in used]:
            self._connection.send(session.drop_plane(_plane(row_id)))
            del self._scans[row_id]


def _plane(row_id: str) -> str:
    return f"control:{row_id}"


def _coverage(read: Reader) -> Reader:
    """The alpha of what it reads, a byte a pixel."""
    return lambda bounds: read(bounds)[3::4]


def _layer_of(row: ControlRow) -> ControlLayer:
    is_pose = row.kind == "pose" and not row.process
    return ControlLayer(
        id=row.id,
        kind=row.kind,
        plane="" if is_pose else _plane(row.id),
        control_scale=row.scale,
        start=row.start,
        end=row.end,
        process=row.process,
        prompt=row.prompt,
        region=row.region,
    )
