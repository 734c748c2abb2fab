"""The canvas room's doors as one value: what the flow may ask of Krita. Imports no Krita."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.pose import Person

__all__ = [
    "CanvasRoom",
    "CaptureResult",
    "ChangeTakenBack",
    "ChosenNode",
    "FrameSpan",
    "SelectionMask",
]


class ChangeTakenBack(Exception):
    """A change to the document failed and was undone: a sentence and what to do."""

    def __init__(self, sentence: str, action: str) -> None:
        super().__init__(f"{sentence} {action}")
        self.sentence = sentence
        self.action = action


class SelectionMask(NamedTuple):
    """What is selected: one byte a pixel of ``bounds``, 255 fully; 0 everywhere else."""

    bounds: Bounds
    pixels: bytes


class ChosenNode(NamedTuple):
    """A layer or mask of a document, by the id that stays the same in the file."""

    id: str
    name: str


class FrameSpan(NamedTuple):
    """Where the drawings of an animation begin and end, and the document's own frames."""

    first: int
    last: int
    begun: int
    end: int


@dataclass(frozen=True)
class CaptureResult:
    """Changed areas with their raw BGRA8 pixels.

    ``has_more`` says that the budget was spent: the next grab finds the rest.
    """

    extent: Extent
    tiles: list[tuple[Bounds, bytes]]
    has_more: bool


@dataclass(frozen=True)
class CanvasRoom:
    """Everything that touches a document. Tests give stand-ins of the same shape."""

    watcher: Any
    capture: Any
    overlay: Any
    active_document: Callable[[], Any | None]
    document_id: Callable[[Any], str]
    document_extent: Callable[[Any], Extent]
    is_open: Callable[[Any], bool]
    is_at_rest: Callable[[Any], bool]
    colour_problem: Callable[[Any], tuple[str, str] | None]
    selection_mask: Callable[[Any], SelectionMask | None]
    active_node: Callable[[Any], ChosenNode | None]
    node_mask: Callable[[Any, str], SelectionMask | None]
    node_bounds: Callable[[Any, str], Bounds | None]
    node_thumbnail: Callable[[Any, str, int], Any | None]
    layer_reader: Callable[[Any, str], Callable[[Bounds], bytes] | None]
    read_people: Callable[[Any, str], tuple[Person, ...] | None]
    pose_presets: tuple[str, ...]
    preset_person: Callable[[str, Extent], Person]
    add_people: Callable[[Any, tuple[Person, ...], str | None], ChosenNode]
    take_shape_tool: Callable[[Any, str], None]
    select_person: Callable[[Any, str], bool]
    mirror_shapes: Callable[[], None]
    read_note: Callable[[Any], str]
    write_note: Callable[[Any, str], None]
    kept_pictures: Callable[[Any], dict[str, bytes]]
    keep_picture: Callable[[Any, str, bytes], None]
    apply_picture: Callable[..., str]
    apply_masked: Callable[..., str]
    replace_picture: Callable[..., str | None]
    paired_steps: Any
    open_picture: Callable[[bytes, Extent, str], None]
    frame_span: Callable[[Any], FrameSpan | None]
    open_frames: Callable[[Any, Collection[str]], Any | None]
    add_animation: Callable[[Any, list[str], int, str], None]
    krita_version: Callable[[], str]
    preview_layer: Callable[[Any], Any]
    canvas_image: Callable[[Any], Any]
    icon: Callable[[str], Any]
    journal: Any
