"""Every message of the protocol as a frozen value; these are also the events that a session gives.

| from the client | meaning |
|---|---|
| Hello | who I am, which dialects and encodings I speak, the token |
| SetPlane / DropPlane | a plane (canvas, mask, control layer) begins or ends |
| UpdateTiles | pixels of a plane changed |
| SetControls | the list of control layers |
| SetPose | the people of a pose layer |
| SetParams | prompt, strength, steps, seed, live on or off |
| Ack | this frame is shown (0: I lost it, send a whole one) |
| Cancel | stop what is being rendered live, until something changes |
| Generate | make pictures of the state as it is now, beside what is live |
| CancelBatch / OrderBatches | give some of those up, or make them in another order |

| from the server | meaning |
|---|---|
| Welcome | the dialect, device, models and limits |
| Models | what can be loaded now: checkpoints, and adapters and embeddings that prompts can name |
| Status | device, model and state in words |
| Frame | a picture, as the tiles that changed since the last acknowledged one |
| Progress | how far a long work is |
| BatchState / BatchPicture | how far a batch is, and each of its pictures |
| ErrorReport | code, sentence, and what to do |

``revision`` counts the client's changes. A frame carries the newest revision that it shows.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from .geometry import Bounds, Extent
from .limits import Limits
from .params import RenderParams
from .pixels import Encoding, PixelFormat, Tile
from .pose import Person
from .upscale import UpscaleParams

__all__ = [
    "CANVAS",
    "CONTROL_FAILED",
    "MASK",
    "Ack",
    "BatchPhase",
    "BatchPicture",
    "BatchState",
    "Cancel",
    "CancelBatch",
    "ClientMessage",
    "ControlLayer",
    "DropPlane",
    "ErrorReport",
    "Frame",
    "Generate",
    "Hello",
    "Message",
    "ModelEntry",
    "Models",
    "OrderBatches",
    "Progress",
    "ServerMessage",
    "SetControls",
    "SetParams",
    "SetPlane",
    "SetPose",
    "Status",
    "UpdateTiles",
    "Welcome",
]

CANVAS = "canvas"
"""Name of the plane that img2img starts from (BGRA8)."""

MASK = "mask"
"""Name of the plane that says where to repaint (GRAY8, 255 = repaint)."""


CONTROL_FAILED = "control_failed"
"""Code of a report about a control that pictures do without; it holds until ``SetControls``."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The client's first message."""

    token: str
    client: str
    protocol: int
    min_protocol: int
    encodings: tuple[Encoding, ...] = (Encoding.RAW, Encoding.ZLIB)
    max_message_bytes: int = 8 * 1024 * 1024

    def __repr__(self) -> str:
        # The token must never reach a log.
        return f"Hello(client={self.client!r}, protocol={self.protocol})"


@dataclass(frozen=True, kw_only=True)
class SetPlane:
    """A plane of this size begins, all zero; an older one of the same name ends."""

    revision: int
    plane: str
    extent: Extent
    format: PixelFormat


@dataclass(frozen=True, kw_only=True)
class DropPlane:
    """A plane ends."""

    revision: int
    plane: str


@dataclass(frozen=True, kw_only=True)
class UpdateTiles:
    """Pixels changed. With ``more`` the same change goes on in the next message."""

    revision: int
    plane: str
    tiles: tuple[Tile, ...]
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class ControlLayer:
    """One control layer. ``plane`` names its picture, or is empty where ``SetPose`` gives it.

    ``control_scale`` in [0, 2]; ``start`` and ``end`` are the range of steps in [0, 1].
    With ``process`` the plane is a picture from which the server makes the hint (edges, lines);
    without, it is the hint itself, as painted. A control of the kind ``region`` says by what its
    plane covers where its ``prompt`` counts; others name with ``region`` the id of the one outside
    of which they do not count, or "".
    """

    id: str
    kind: str
    plane: str = ""
    control_scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    enabled: bool = True
    process: bool = False
    prompt: str = ""
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class SetControls:
    """All control layers, in the order in which they are summed."""

    revision: int
    controls: tuple[ControlLayer, ...]


@dataclass(frozen=True, kw_only=True)
class SetPose:
    """The people of one pose control layer, in canvas pixels."""

    revision: int
    id: str
    people: tuple[Person, ...]


@dataclass(frozen=True, kw_only=True)
class SetParams:
    """The docker's settings."""

    revision: int
    params: RenderParams


@dataclass(frozen=True, kw_only=True)
class Ack:
    """``frame_id`` is shown; 0 asks for a whole frame. The next frame comes only after this."""

    frame_id: int


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Stop rendering until the next change."""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make ``count`` pictures of the planes, controls and poses as they are now.

    ``params`` are these pictures' own; the picture ``n`` has the seed ``params.seed + n``, counted
    modulo 2**32. ``batch_id`` rises from one batch to the next. With ``upscale`` they are larger
    pictures of the whole canvas, whatever the mode of ``params``. With ``looks`` its states carry
    small pictures of what is being made. ``plane`` names another plane that stands for the canvas:
    so a moment of an animation is rendered beside what is painted live; "" is the canvas itself.
    """

    batch_id: int
    count: int
    params: RenderParams
    upscale: UpscaleParams | None = None
    looks: bool = False
    plane: str = ""


@dataclass(frozen=True, kw_only=True)
class CancelBatch:
    """Give a batch up; pictures of it that are made already stay made."""

    batch_id: int


@dataclass(frozen=True, kw_only=True)
class OrderBatches:
    """The order of batches that wait; one that runs goes on, those not named come last."""

    batch_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One thing that the backend can load. ``kind``: "checkpoint", "lora", "embedding" or
    "upscaler". ``digest``: the hash by which the web UIs find its file; "" while it is not known.
    """

    name: str
    title: str
    family: str
    native_px: int = 0
    kind: str = "checkpoint"
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """The server's answer to a good Hello."""

    protocol: int
    server: str
    device: str
    models: tuple[ModelEntry, ...]
    encodings: tuple[Encoding, ...]
    capabilities: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Models:
    """What can be loaded, after a file came or went; ``Welcome`` holds the first such list."""

    models: tuple[ModelEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """``state``: starting, loading, ready, rendering, paused or failed; ``text`` is for people."""

    state: str
    device: str
    model: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture of ``extent`` pixels that covers ``area`` of the canvas.

    ``base_frame_id`` 0 means that the tiles are the whole picture; otherwise they are what
    changed since that frame, which the client has acknowledged. ``timings_ms`` gives each stage;
    ``model_ms`` is the time inside the networks. ``final`` means that nothing better follows for
    this revision.
    """

    frame_id: int
    base_frame_id: int
    revision: int
    extent: Extent
    area: Bounds
    tiles: tuple[Tile, ...]
    seed: int = 0
    num_inference_steps: int = 0
    final: bool = False
    model_ms: float = 0.0
    timings_ms: Mapping[str, float] = field(default_factory=dict[str, float])


class BatchPhase(str, enum.Enum):
    """Where a batch is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (BatchPhase.DONE, BatchPhase.CANCELLED, BatchPhase.FAILED)


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """How far a batch is: ``done`` pictures, and ``step`` of ``steps`` of the next one.

    ``left_s`` is a guess at the seconds to its end, 0 where nothing is known. A batch that failed
    says why. ``tiles``: none, or one, which is all of a small picture (at most ``MAX_LOOK_PX`` a
    side) of what is being made.
    """

    batch_id: int
    state: BatchPhase
    done: int = 0
    step: int = 0
    steps: int = 0
    left_s: float = 0.0
    sentence: str = ""
    action: str = ""
    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchPicture:
    """A picture of a batch, of ``extent`` pixels over ``area`` of the canvas.

    With ``more`` the rest of its tiles comes in the next message.
    """

    batch_id: int
    index: int
    extent: Extent
    area: Bounds
    tiles: tuple[Tile, ...]
    seed: int
    num_inference_steps: int = 0
    sampler: str = ""
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """``done`` of ``total`` parts of a long work, e.g. loading a model."""

    label: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """Something went wrong: ``sentence`` says what, ``action`` what to do about it."""

    code: str
    sentence: str
    action: str = ""
    revision: int = 0
    fatal: bool = False


ClientMessage = Union[
    Hello,
    SetPlane,
    DropPlane,
    UpdateTiles,
    SetControls,
    SetPose,
    SetParams,
    Ack,
    Cancel,
    Generate,
    CancelBatch,
    OrderBatches,
]
ServerMessage = Union[
    Welcome, Models, Status, Frame, Progress, ErrorReport, BatchState, BatchPicture
]
Message = Union[ClientMessage, ServerMessage]
