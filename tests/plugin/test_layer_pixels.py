"""A picture with a mask: all of its colours are kept, and the mask says what is seen."""

from __future__ import annotations

from nijimi.canvas.layer_pixels import picture_and_mask
from nijimi.canvas.room import SelectionMask
from nijimi.model.picture import APPLY_MASKED
from nijimi_protocol.geometry import Bounds, Extent

from .flow_world import World

SELECTED = SelectionMask(Bounds(10, 20, 30, 10), bytes([200]) * 300)
PIXELS = b"".join(bytes((n, 2 * n, 3 * n, 40 * n)) for n in range(6))
AREA = Bounds(10, 20, 3, 2)


def test_a_picture_of_a_selection_keeps_its_edge_as_the_mask() -> None:
    whole = SelectionMask(AREA, b"\xff" * 6)
    colours, mask = picture_and_mask(PIXELS, Extent(3, 2), AREA, whole, of_selection=True)
    assert mask == bytes(40 * n for n in range(6))
    assert colours[3::4] == b"\xff" * 6
    assert (colours[0::4], colours[1::4], colours[2::4]) == (
        PIXELS[0::4], PIXELS[1::4], PIXELS[2::4],
    )  # fmt: skip


def test_beside_the_selection_nothing_of_it_is_seen() -> None:
    part = SelectionMask(Bounds(11, 21, 5, 5), b"\x01" * 25)
    _, mask = picture_and_mask(PIXELS, Extent(3, 2), AREA, part, of_selection=True)
    assert mask == bytes((0, 0, 0, 0, 160, 200))


def test_a_whole_picture_is_cut_softly_to_what_is_selected() -> None:
    part = SelectionMask(Bounds(11, 21, 5, 5), b"\x50" * 25)
    _, mask = picture_and_mask(PIXELS, Extent(3, 2), AREA, part, of_selection=False)
    assert mask == bytes((0, 0, 0, 0, 0x50, 0x50))


def test_without_a_selection_all_is_seen() -> None:
    _, mask = picture_and_mask(PIXELS, Extent(3, 2), AREA, None, of_selection=False)
    assert mask == b"\xff" * 6


def test_a_picture_is_larger_in_the_document_than_it_was_made() -> None:
    area = Bounds(0, 0, 6, 4)
    colours, mask = picture_and_mask(PIXELS, Extent(3, 2), area, None, of_selection=False)
    assert (len(colours), len(mask)) == (6 * 4 * 4, 6 * 4)


def test_which_selection_counts_is_that_of_the_picture_or_of_now(world: World) -> None:
    world.frame()
    world.flow.apply(APPLY_MASKED)
    world.canvas.selection = SELECTED
    world.flow.apply(APPLY_MASKED)
    world.canvas.watcher.changed.emit()
    world.frame()
    world.canvas.selection = None
    world.flow.apply(APPLY_MASKED)
    assert world.canvas.masked == [(None, False), (SELECTED, False), (SELECTED, True)]
    assert len(world.canvas.applied) == 3
