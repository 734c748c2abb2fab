"""An animated document enters; its frames' pixels leave, and rendered ones become a layer of it.

Frames are read from a copy that nobody sees: to move the painter's own document through time
would be seen, and each move would be an undo step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from nijimi_protocol.geometry import Bounds, Extent

from .capture import document_reader, with_preview
from .document import clone_at_rest, document_extent, document_id
from .flattening import hide_in_clone
from .journal import Journal
from .nodes import nodes_below
from .room import FrameSpan

__all__ = ["FrameReader", "add_animation", "frame_span", "open_frames"]


def frame_span(document: Any) -> FrameSpan | None:
    """From the first drawing of any animated layer to the last; None where nothing is animated."""
    end = int(document.fullClipRangeEndTime())
    begun = int(document.fullClipRangeStartTime())
    animated = [node for node in nodes_below(document.rootNode()) if node.animated()]
    keys = [
        time
        for time in range(begun, end + 1)
        if any(node.hasKeyframeAtTime(time) for node in animated)
    ]
    if not keys:
        return None
    return FrameSpan(keys[0], keys[-1], begun, end)


def open_frames(document: Any, left_out: Collection[str]) -> FrameReader | None:
    """None while Krita is at work on the document: then ask again later."""
    clone = clone_at_rest(document)
    if clone is None:
        return None
    hide_in_clone(document, clone, with_preview(document, left_out))
    return FrameReader(clone)


class FrameReader:
    """Reads one moment after another from a copy, which it closes at the end."""

    def __init__(self, clone: Any) -> None:
        self._clone = clone
        self.extent: Extent = document_extent(clone)

    def read(self, time: int) -> bytes:
        """BGRA8 of the whole canvas at that frame."""
        self._clone.setCurrentTime(time)
        # The move is a stroke, which a refresh does not wait for: it would give the moment before.
        # Nobody paints in the copy, so this waits for nothing else.
        self._clone.waitForDone()
        self._clone.refreshProjection()
        read: Callable[[Bounds], bytes] = document_reader(self._clone, self.extent)
        return read(self.extent.bounds)

    def close(self) -> None:
        self._clone.setModified(False)
        self._clone.close()


def add_animation(journal: Journal, document: Any, files: list[str], first: int, name: str) -> None:
    """A new animated layer of these pictures from frame ``first`` on: one undo step, at rest."""
    with journal.change(document_id(document), "add an animated layer"):
        was_batch = document.batchmode()
        document.setBatchmode(True)
        before = {node.uniqueId().toString() for node in nodes_below(document.rootNode())}
        try:
            if not document.importAnimation(files, first, 1):
                raise RuntimeError("Krita did not take the frames")
        finally:
            document.setBatchmode(was_batch)
        for node in nodes_below(document.rootNode()):
            if node.uniqueId().toString() not in before:
                node.setName(name)
