"""What a frame is made from and what comes out, as plain frozen values; no torch here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderParams
from nijimi_protocol.pose import Person
from nijimi_protocol.upscale import UpscaleParams

from ..errors import NijimiError

__all__ = ["REGION", "CanvasChanges", "Control", "FrameRequest", "Picture", "Pixels"]

REGION = "region"
"""The kind of a control whose layer says where its words count."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class CanvasChanges:
    """The areas in which a canvas differs, at most, from itself at ``base_version``."""

    base_version: int
    areas: tuple[Bounds, ...]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control layer that is on. ``pixels``: BGRA or grey of the canvas's size, for a painted
    hint, or with ``process`` a picture to make it from; a pose has ``people`` (canvas pixels).
    ``version`` changes with the pixels. The rest as in ``ControlLayer``."""

    kind: str
    pixels: Pixels | None = None
    version: int = 0
    people: tuple[Person, ...] = ()
    process: bool = False
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    prompt: str = ""
    id: str = ""
    region: str = ""

    @property
    def key(self) -> Hashable:
        """Two controls of equal keys have the same hint, however strong they are."""
        return self.kind, self.version, self.people, self.process

    @property
    def is_idle(self) -> bool:
        """Whether it can change nothing."""
        return self.scale <= 0.0 or self.end <= self.start

    def counts(self, part: float) -> bool:
        """Whether a step that begins at ``part`` of all steps is within the range."""
        return self.start <= part < self.end or (self.end >= 1.0 and part >= self.start)


@dataclass(frozen=True, kw_only=True)
class FrameRequest:
    """A snapshot to render. Its arrays are never written to after being handed over.

    ``canvas`` is H x W x 4 BGRA with straight alpha, or None for text to image.
    ``canvas_version`` changes exactly when the pixels did: the encode stage is cached by it.
    ``mask`` is H x W, 255 where the picture is to be repainted; ``mask_version`` as the canvas's.
    ``full_quality`` asks for the refining pass: more steps, and the model's own autoencoder where a
    live frame takes a quicker one; ``exact`` asks for that autoencoder alone. ``upscale`` asks
    for a larger picture of the whole canvas, without controls and selection. ``on_look`` is
    shown, after each step, small BGRA pictures of what it is becoming.
    """

    params: RenderParams
    extent: Extent
    canvas: Pixels | None = None
    canvas_version: int = 0
    canvas_changes: CanvasChanges | None = None
    mask: Pixels | None = None
    mask_version: int = 0
    controls: tuple[Control, ...] = ()
    full_quality: bool = False
    exact: bool = False
    upscale: UpscaleParams | None = None
    on_look: Callable[[Pixels], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """``pixels`` is h x w x 4 BGRA and covers ``area`` of the canvas.

    A whole picture is opaque and has the model's resolution, or the one that ``upscale`` asks for.
    A repainted selection has the canvas's resolution, straight alpha, and is fully transparent
    wherever nothing was selected.
    ``failures``: what was asked for and could not be, while the rest of it could. ``sampler``: the
    one that ran, "" where none did.
    """

    pixels: Pixels
    area: Bounds
    seed: int
    num_inference_steps: int
    model_ms: float
    timings_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    failures: tuple[NijimiError, ...] = ()
    sampler: str = ""
