"""Checked protocol events enter; an immutable snapshot of the newest state leaves."""

from __future__ import annotations

import io
import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from nijimi_protocol.errors import MalformedMessage
from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    CANVAS,
    MASK,
    ControlLayer,
    DropPlane,
    Message,
    SetControls,
    SetParams,
    SetPlane,
    SetPose,
    UpdateTiles,
)
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, unpack_tile
from nijimi_protocol.pose import Person
from nijimi_protocol.upscale import UpscaleParams
from PIL import Image, UnidentifiedImageError

from ..engine.request import CanvasChanges, Control, FrameRequest, Pixels
from .budget import PlaneBudget
from .plane_copies import PlaneCopies

__all__ = ["UPSCALED_BYTES", "CanvasState", "Snapshot", "unpack"]

UPSCALED_BYTES = 12
"""For each pixel of an enlarged picture: RGB while it is made, BGRA when it is, and as much again
on its way."""

_TEXT_TO_IMAGE_EXTENT = Extent(512, 512)
"""Without a canvas only the aspect counts: the engine renders at its model's own size."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The mirrored state at one revision. ``canvas`` is a copy, or None without a document."""

    revision: int
    params: RenderParams
    extent: Extent
    canvas: Pixels | None
    canvas_version: int
    canvas_changes: CanvasChanges | None
    mask: Pixels | None
    mask_version: int
    controls: tuple[Control, ...] = ()
    """Those that are on, in their order, each with its layer or its people."""

    @property
    def key(self) -> tuple[object, ...]:
        """Two snapshots of equal keys give the same picture."""
        return (
            self.params,
            self.extent,
            self.canvas_version,
            self.mask_version,
            tuple((c.key, c.scale, c.start, c.end, c.prompt, c.region) for c in self.controls),
        )

    def request(self, *, full_quality: bool) -> FrameRequest | None:
        """What the engine needs, or None while there is nothing to render."""
        if self.canvas is None and self.params.mode is not RenderMode.TXT2IMG:
            return None
        if self.params.mode is RenderMode.INPAINT and (self.mask is None or not self.mask.any()):
            # Whoever lost the selection did not ask for the whole canvas.
            return None
        return FrameRequest(
            params=self.params,
            extent=self.extent if self.canvas is not None else _TEXT_TO_IMAGE_EXTENT,
            canvas=self.canvas,
            canvas_version=self.canvas_version,
            canvas_changes=self.canvas_changes,
            mask=self.mask,
            mask_version=self.mask_version,
            controls=self.controls,
            full_quality=full_quality,
        )


class CanvasState:
    """The mirror of one client. Written by the socket's thread, read by the worker's.

    Its planes, with the copies that snapshots take, come out of a budget that all clients share;
    what does not fit is refused, and what is sent for it afterwards is passed over.
    """

    def __init__(self, budget: PlaneBudget | None = None) -> None:
        self._lock = threading.Lock()
        self._budget = budget
        self._planes: dict[str, Pixels] = {}
        self._copies: dict[str, PlaneCopies] = {}
        self._versions: dict[str, int] = {}
        # One engine serves all clients and caches by version: each client counts from a place
        # of its own, so that nobody is ever shown another's canvas.
        self._newest_version = secrets.randbits(62)
        self._params = RenderParams(live=False)
        self._controls: tuple[ControlLayer, ...] = ()
        self._poses: dict[str, tuple[Person, ...]] = {}
        self._revision = 0

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def params(self) -> RenderParams:
        return self._params

    def apply(self, event: Message) -> bool:
        """Mirror one event. True when a change is complete and worth rendering.

        The event has passed ``ServerSession.receive``; only packed pixels can still be wrong,
        and then ``MalformedMessage`` comes and nothing of that message is applied. A plane that the
        budget has no room for raises ``RejectedChange``.
        """
        unpacked = (
            [(tile, unpack(tile)) for tile in event.tiles] if isinstance(event, UpdateTiles) else []
        )
        with self._lock:
            if isinstance(event, SetPlane):
                self._open(event)
            elif isinstance(event, DropPlane):
                self._drop(event.plane)
                if self._budget is not None:
                    self._budget.give_back(id(self), event.plane)
            elif isinstance(event, UpdateTiles):
                self._paste(event.plane, unpacked)
            elif isinstance(event, SetParams):
                self._params = event.params
            elif isinstance(event, SetControls):
                self._controls = event.controls
            elif isinstance(event, SetPose):
                self._poses[event.id] = event.people
            else:
                return False
            self._revision = event.revision
        return not (isinstance(event, UpdateTiles) and event.more)

    def close(self) -> None:
        """The client is gone: what it held is free at once, not when Python looks for cycles."""
        with self._lock:
            self._planes.clear()
            self._copies.clear()
            if self._budget is not None:
                self._budget.give_back(id(self))

    def snapshot(self) -> Snapshot:
        """The newest state; planes are copied only if they changed since the last snapshot."""
        with self._lock:
            return self._assembled(self._params, self._copy)

    def keep(
        self, name: str, params: RenderParams, upscale: UpscaleParams | None = None,
        plane: str = "",
    ) -> Snapshot:  # fmt: skip
        """The newest state with other settings, in copies of its own, until ``let_go``.

        ``plane`` names the one that stands for the canvas, "" is the canvas itself.

        Raises ``RejectedChange`` where the budget has no room for them, or where the canvas would
        become too large by ``upscale``, which is of the whole of it.
        """
        canvas = plane or CANVAS
        with self._lock:
            # Not those that take turns: the worker may be reading them for longer than this.
            wanted = {canvas, MASK, *(c.plane for c in self._controls)}
            if upscale is not None:
                # Controls and selections are of the canvas's size, and of no tile of it.
                wanted = {canvas}
                params = replace(params, mode=RenderMode.IMG2IMG)
            planes = wanted & set(self._planes)
            held = sum(self._planes[each].nbytes for each in planes)
            # Once as it is kept, and once for a picture on its way.
            needed = 2 * held
            if upscale is not None and canvas in planes:
                height, width = self._planes[canvas].shape[:2]
                upscale.check_extent(Extent(width, height), Limits())
                needed = held + UPSCALED_BYTES * upscale.extent(Extent(width, height)).pixels
            if self._budget is not None:
                self._budget.take(id(self), name, needed, 0, copies=1)
            own = {each: self._planes[each].copy() for each in planes}
            kept = replace(self._assembled(params, own.get, canvas), canvas_changes=None)
            return kept if upscale is None else replace(kept, controls=())

    def let_go(self, name: str) -> None:
        """What was kept by that name is not needed any more."""
        if self._budget is not None:
            self._budget.give_back(id(self), name)

    def _assembled(
        self, params: RenderParams, pixels_of: Callable[[str], Pixels | None], plane: str = CANVAS
    ) -> Snapshot:
        canvas = pixels_of(plane)
        extent = Extent(0, 0)
        if canvas is not None:
            extent = Extent(canvas.shape[1], canvas.shape[0])
        return Snapshot(
            revision=self._revision,
            params=params,
            extent=extent,
            canvas=canvas,
            canvas_version=self._versions.get(plane, 0),
            canvas_changes=self._changes(plane),
            mask=pixels_of(MASK),
            mask_version=self._versions.get(MASK, 0),
            controls=tuple(
                Control(
                    kind=layer.kind,
                    pixels=pixels_of(layer.plane) if layer.plane else None,
                    version=self._versions.get(layer.plane, 0) if layer.plane else 0,
                    people=self._poses.get(layer.id, ()),
                    process=layer.process,
                    scale=layer.control_scale,
                    start=layer.start,
                    end=layer.end,
                    prompt=layer.prompt,
                    id=layer.id,
                    region=layer.region,
                )
                for layer in self._controls
                if layer.enabled
            ),
        )

    def _open(self, event: SetPlane) -> None:
        width, height = event.extent
        shape = (height, width, 4) if event.format is PixelFormat.BGRA8 else (height, width)
        # Refused or not, the plane that was there before is another one now.
        self._drop(event.plane)
        if self._budget is not None:
            self._budget.take(id(self), event.plane, math.prod(shape), event.revision)
        self._planes[event.plane] = np.zeros(shape, dtype=np.uint8)

    def _drop(self, plane: str) -> None:
        self._planes.pop(plane, None)
        self._copies.pop(plane, None)
        self._touch(plane)

    def _paste(self, plane: str, unpacked: list[tuple[Tile, bytes]]) -> None:
        pixels = self._planes.get(plane)
        if pixels is None:
            # It was refused, and the client did not know yet when it sent this.
            return
        for tile, data in unpacked:
            x, y, width, height = tile.bounds
            target = pixels[y : y + height, x : x + width]
            new = np.frombuffer(data, dtype=np.uint8).reshape(target.shape)  # h x w (x 4)
            if not np.array_equal(target, new):
                target[...] = new
                self._touch(plane)
                if copies := self._copies.get(plane):
                    copies.note(tile.bounds)

    def _touch(self, plane: str) -> None:
        self._newest_version += 1
        self._versions[plane] = self._newest_version

    def _copy(self, plane: str) -> Pixels | None:
        pixels = self._planes.get(plane)
        if pixels is None:
            return None
        if plane not in self._copies:
            self._copies[plane] = PlaneCopies()
        return self._copies[plane].newest(pixels, self._versions[plane])

    def _changes(self, plane: str) -> CanvasChanges | None:
        copies = self._copies.get(plane)
        return copies.changes if copies is not None else None


def unpack(tile: Tile) -> bytes:
    """The raw pixels of a tile in any encoding; ``MalformedMessage`` for anything else."""
    if tile.encoding is not Encoding.JPEG:
        return unpack_tile(tile)
    if tile.format is not PixelFormat.BGRA8:
        raise MalformedMessage("A mask cannot travel as JPEG.")
    try:
        with Image.open(io.BytesIO(tile.data), formats=["JPEG"]) as image:
            if image.size != (tile.bounds.width, tile.bounds.height):
                raise MalformedMessage("A JPEG tile has another size than declared.")
            return image.convert("RGBA").tobytes("raw", "BGRA")
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ):
        raise MalformedMessage("A JPEG tile cannot be read.") from None
