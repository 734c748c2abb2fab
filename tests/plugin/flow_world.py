"""A flow between a stand-in canvas and a real session pair: what its tests steer and look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nijimi.canvas.pose_shapes import preset_person
from nijimi.canvas.room import (
    CanvasRoom,
    CaptureResult,
    ChangeTakenBack,
    ChosenNode,
    FrameSpan,
    SelectionMask,
)
from nijimi.flow import Flow
from nijimi.model.controls import Controls
from nijimi.model.live_state import LiveState
from nijimi.model.settings import Settings
from nijimi.qt import QtCore, QtGui, Signal
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import Frame, Message, SetParams, UpdateTiles
from nijimi_protocol.pixels import Encoding, PixelFormat, pack_tile
from nijimi_protocol.pose import Person
from nijimi_protocol.session import ClientSession, ServerSession

SIZE = Extent(64, 64)
Reader = Callable[[Bounds], bytes]


class Watcher(QtCore.QObject):
    """Tells what the test tells it to."""

    changed, document_changed = Signal(), Signal()
    pen_down, pen_up = Signal(), Signal()

    def __init__(self) -> None:
        super().__init__()
        self.is_pen_down = False
        self.trail: list[tuple[int, int]] = []

    def pen_trail(self, extent: Extent) -> list[tuple[int, int]]:
        return [place for place in self.trail if place[0] < extent.width]

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Link(QtCore.QObject):
    """A client and a server session back to back; what the server understood is kept."""

    opened, received = Signal(), Signal(object)
    state_changed, problem = Signal(str), Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.pending_bytes = 0
        self.receiving_since_s = 0.0
        self.session: ClientSession | None = None
        self.server: ServerSession | None = None
        self.heard: list[Message] = []
        self.revision = 0

    @property
    def is_open(self) -> bool:
        return self.session is not None

    def start(self) -> None:
        self.server = ServerSession(token="t", device="cpu", models=())
        self.session = ClientSession(token="t", client="test", first_revision=self.revision)
        self.server.receive(self.session.hello())
        self.session.receive(self.server.welcome())
        self.opened.emit()

    def stop(self) -> None:
        if self.session is not None:
            self.revision = self.session.revision
        self.session = self.server = None

    def send(self, data: bytes) -> None:
        assert self.server is not None
        self.heard.append(self.server.receive(data))

    def note_success(self) -> None: ...

    def tiles_sent(self) -> list[Bounds]:
        return [
            tile.bounds for event in self.heard if isinstance(event, UpdateTiles)
            for tile in event.tiles
        ]  # fmt: skip


class Frames:
    """Reads the canvas's frames, as Krita's hidden copy does."""

    def __init__(self, canvas: Canvas, left_out: Collection[str]) -> None:
        self._canvas = canvas
        self.left_out = frozenset(left_out)
        self.extent = SIZE
        canvas.open_readers += 1

    def read(self, time: int) -> bytes:
        return self._canvas.frames[time]

    def close(self) -> None:
        self._canvas.open_readers -= 1


@dataclass
class Canvas:
    """Documents by name, what was drawn on each, and what was done to them."""

    watcher: Watcher = field(default_factory=Watcher)
    front: str | None = "A"
    open: set[str] = field(default_factory=lambda: {"A", "B"})
    extents: dict[str, Extent] = field(default_factory=lambda: {"A": SIZE, "B": SIZE})
    at_rest: bool = True
    dirty: list[Bounds] = field(default_factory=list)
    bands: list[Bounds] = field(default_factory=list)
    """What one grab after another gives, for as long as there are any."""
    is_readable: bool = True
    grabs: int = 0
    trail: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Where the pen was said to have been when the canvas was last looked at."""
    selection: SelectionMask | None = None
    active: ChosenNode = field(default_factory=lambda: ChosenNode("{1}", "paint"))
    nodes: dict[str, Bounds] = field(default_factory=dict[str, Bounds])
    node_masks: dict[str, SelectionMask] = field(default_factory=dict[str, SelectionMask])
    thumbnails: dict[str, Any] = field(default_factory=dict[str, Any])
    layers: dict[str, Reader] = field(default_factory=dict[str, Reader])
    people: dict[str, tuple[Person, ...]] = field(default_factory=dict[str, tuple[Person, ...]])
    reads_of_people: int = 0
    notes: dict[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """Pictures in each document's file."""
    left_out: frozenset[str] = frozenset()
    colour_problem: tuple[str, str] | None = None
    refusal: ChangeTakenBack | None = None
    """What Krita says to a layer of ours."""
    shown: bool = False
    preview: dict[str, str] = field(default_factory=dict)
    applied_selection: SelectionMask | None = None
    applied: list[tuple[str, Bounds]] = field(default_factory=list)
    masked: list[tuple[SelectionMask | None, bool]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    listeners: list[Callable[[str, str], None]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    """For each layer with a mask the selection, and whether the picture is of one."""
    span: FrameSpan | None = None
    frames: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """The drawings of an animation."""
    open_readers: int = 0
    animations: list[tuple[list[bytes], int, str]] = field(
        default_factory=list[tuple[list[bytes], int, str]]
    )
    """What became of animations: the frames' files, the first frame's number, and the name."""
    shape_calls: list[str] = field(default_factory=list)
    """What Krita's tool for shapes was asked for."""
    opened: list[tuple[Any, ...]] = field(default_factory=list)
    on_paint: Any = None

    # The overlay -------------------------------------------------------------------------
    def set_opacity(self, opacity: float) -> None: ...

    def show_picture(
        self,
        pixels: bytes,
        extent: Extent,
        area: Bounds,
        canvas: Extent,
        *,
        is_opaque: bool,
        is_quick: bool,
    ) -> None:
        assert is_opaque == (self.selection is None)
        assert is_quick == self.watcher.is_pen_down
        assert len(pixels) == extent.pixels * 4
        self.shown = True

    def clear(self) -> None:
        self.shown = False

    def detach(self) -> None:
        self.shown = False

    # The capture -------------------------------------------------------------------------
    def reset(self) -> None:
        self.dirty = [SIZE.bounds]

    def grab(
        self, document: str, budget_bytes: int, trail: Sequence[tuple[int, int]] = ()
    ) -> CaptureResult | None:
        self.grabs += 1
        self.trail = list(trail)
        if not self.is_readable:
            return None
        if self.bands:
            areas, self.dirty = [self.bands.pop(0)], []
        else:
            # A place that changed twice is read once, as the real scan does.
            areas, self.dirty = list(dict.fromkeys(self.dirty)), []
        tiles = [(area, bytes(area.extent.pixels * 4)) for area in areas]
        return CaptureResult(self.extents[document], tiles, bool(self.bands))

    def read_people(self, _document: str, node: str) -> tuple[Person, ...] | None:
        self.reads_of_people += 1
        return self.people.get(node)

    def add_people(self, document: str, people: tuple[Person, ...], node: str | None) -> ChosenNode:
        assert self.at_rest
        name = node or "{pose}"
        self.people[name] = (*self.people.get(name, ()), *people)
        return ChosenNode(name, "Pose")

    # Layers ------------------------------------------------------------------------------
    def apply_picture(
        self,
        document: str,
        pixels: bytes,
        extent: Extent,
        area: Bounds,
        _name: str,
        selection: SelectionMask | None,
    ) -> str:
        self.applied_selection = selection
        if self.refusal is not None:
            raise self.refusal
        assert self.at_rest
        assert len(pixels) == extent.pixels * 4
        self.applied.append((document, area))
        return f"layer {len(self.applied)}"

    def replace_picture(self, document: str, layers: tuple[str, ...], *what: Any) -> str | None:
        """The newest of them that is there."""
        found = next((each for each in layers if each not in self.removed), None)
        if found is None:
            return None
        if self.refusal is not None:
            raise self.refusal
        assert self.at_rest
        self.removed.add(found)
        self.replaced.append(found)
        return f"{found}, again"

    def add_animation(self, document: str, files: list[str], first: int, name: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert self.at_rest
        self.animations.append(([Path(file).read_bytes() for file in files], first, name))

    def select_person(self, _document: str, node: str) -> bool:
        self.shape_calls.append(f"select in {node}")
        return bool(self.people.get(node))

    def apply_masked(self, *what: Any, of_selection: bool) -> str:
        self.masked.append((what[-1], of_selection))
        return self.apply_picture(*what)

    def keep_picture(self, document: str, name: str, data: bytes) -> None:
        kept = self.kept.setdefault(document, {})
        kept[name] = data
        if not data:
            del kept[name]

    def preview_layer(self, document: str) -> Any:
        canvas = self

        class Layer:
            @property
            def is_there(self) -> bool:
                return document in canvas.preview

            def show(self, *_: Any) -> None:
                assert canvas.at_rest
                canvas.preview[document] = "shown"

            def remove(self) -> None:
                assert canvas.at_rest
                canvas.preview.pop(document, None)

        return Layer()

    def room(self) -> CanvasRoom:
        return CanvasRoom(
            watcher=self.watcher,
            capture=self,
            overlay=self,
            active_document=lambda: self.front,
            document_id=str,
            document_extent=lambda document: self.extents[document],
            is_open=lambda document: document in self.open,
            is_at_rest=lambda _: self.at_rest,
            colour_problem=lambda _: self.colour_problem,
            selection_mask=lambda _: self.selection,
            active_node=lambda _: self.active,
            node_mask=lambda _, node: self.node_masks.get(node),
            node_bounds=lambda _, node: self.nodes.get(node),
            node_thumbnail=lambda _, node, side: self.thumbnails.get(node),
            layer_reader=lambda _, node: self.layers.get(node),
            read_people=self.read_people,
            pose_presets=("standing",),
            preset_person=preset_person,
            add_people=self.add_people,
            read_note=lambda document: self.notes.get(document, ""),
            write_note=self.notes.__setitem__,
            kept_pictures=lambda document: dict(self.kept.get(document, {})),
            keep_picture=self.keep_picture,
            apply_picture=self.apply_picture,
            apply_masked=self.apply_masked,
            replace_picture=self.replace_picture,
            frame_span=lambda _: self.span,
            open_frames=lambda _document, left_out: Frames(self, left_out),
            add_animation=self.add_animation,
            krita_version=lambda: "5.1.5",
            take_shape_tool=lambda _, node: self.shape_calls.append(f"tool on {node}"),
            select_person=self.select_person,
            mirror_shapes=lambda: self.shape_calls.append("mirror"),
            open_picture=lambda *picture: self.opened.append(picture),
            preview_layer=self.preview_layer,
            canvas_image=lambda _: QtGui.QImage(64, 64, QtGui.QImage.Format.Format_RGB32),
            icon=lambda _: QtGui.QIcon(),
            paired_steps=self,
            journal=None,
        )


class World:
    """A flow with live on, and a backend that answers when it is told to."""

    def __init__(self, **values: Any) -> None:
        self.canvas, self.link = Canvas(), Link()
        self._frame_id = 0
        self.settings, self.state = Settings(), LiveState()
        for name, value in values.items():
            self.settings.set(name, value)
        self.controls = Controls()
        room = self.canvas.room()
        self.flow = Flow(room, self.link, self.settings, self.state, self.controls)
        self.flow.begin()
        self.settings.set("live", True)

    def draw(self, *areas: Bounds) -> None:
        self.canvas.dirty += areas
        self.canvas.watcher.changed.emit()

    def frame(self, revision: int | None = None) -> None:
        """The backend shows that revision, or the newest."""
        session, server = self.link.session, self.link.server
        assert session is not None
        assert server is not None
        tile = pack_tile(SIZE.bounds, PixelFormat.BGRA8, bytes(SIZE.pixels * 4), Encoding.RAW)
        self._frame_id += 1
        frame = Frame(
            frame_id=self._frame_id,
            base_frame_id=0,
            revision=session.revision if revision is None else revision,
            extent=SIZE,
            area=SIZE.bounds,
            tiles=(tile,),
            final=True,
            model_ms=5.0,
            timings_ms={"queue": 1.0},
        )
        self.link.received.emit(session.receive(server.send_frame(frame)))

    def go_to(self, document: str | None) -> None:
        self.canvas.front = document
        self.canvas.watcher.document_changed.emit()

    def sent(self, kind: type[Any]) -> list[Any]:
        """Every message of that kind that the backend heard."""
        return [event for event in self.link.heard if isinstance(event, kind)]

    def params(self) -> list[Any]:
        return [event.params for event in self.sent(SetParams)]


def spin(application: Any, ms: float) -> None:
    """Let Qt work for a while."""
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.002)
