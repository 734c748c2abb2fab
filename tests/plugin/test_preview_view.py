"""The preview: where the picture lies, zoom that keeps the place, and a line to compare by."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from nijimi.model.picture import Picture
from nijimi.qt import QtCore, QtGui
from nijimi.ui.preview_view import PreviewPanel, PreviewView
from nijimi_protocol.geometry import Bounds, Extent

RED, GREEN = (0, 0, 255), (0, 255, 0)


def _picture(canvas: Extent, area: Bounds | None = None, colour: tuple[int, ...] = RED) -> Picture:
    area = area or canvas.bounds
    return Picture(
        pixels=bytes([*colour, 255]) * area.extent.pixels, extent=area.extent, area=area,
        canvas=canvas, document_id="A", revision=1, is_final=True,
        selected=area if area != canvas.bounds else None,
        selection=b"\xff" * area.extent.pixels if area != canvas.bounds else b"",
    )  # fmt: skip


def _before(colour: int) -> Any:
    image = QtGui.QImage(100, 100, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor(colour))
    return image


def _shown(view: PreviewView, x: int, y: int) -> str:
    return view.grab().toImage().pixelColor(x, y).name()


@pytest.fixture
def view(application: Any) -> PreviewView:
    view = PreviewView()
    view.resize(400, 200)
    return view


def test_a_picture_fits_at_its_own_aspect(view: PreviewView) -> None:
    view.set_picture(_picture(Extent(100, 100)))
    assert view.scale == 2.0
    assert _shown(view, 200, 100) == "#ff0000"
    assert _shown(view, 105, 100) == "#ff0000"
    assert _shown(view, 95, 100) != "#ff0000"


def test_a_zoom_keeps_what_is_under_the_pointer(view: PreviewView) -> None:
    # Left half red, right half green: the border is the place to keep.
    width, height = 100, 100
    row = bytes([*RED, 255]) * 50 + bytes([*GREEN, 255]) * 50
    whole = _picture(Extent(width, height))
    view.set_picture(replace(whole, pixels=row * height))
    assert (_shown(view, 196, 50), _shown(view, 204, 50)) == ("#ff0000", "#00ff00")
    view.zoom_to(8.0, QtCore.QPointF(200, 50))
    assert view.scale == 8.0
    assert (_shown(view, 196, 50), _shown(view, 204, 50)) == ("#ff0000", "#00ff00")
    view.fit()
    assert view.scale == 2.0
    view.zoom_to(1e9)
    assert view.scale == 32.0


def test_another_picture_of_the_same_canvas_keeps_the_zoom(view: PreviewView) -> None:
    view.set_picture(_picture(Extent(100, 100)))
    view.zoom_to(5.0)
    view.set_picture(_picture(Extent(100, 100), colour=GREEN))
    assert view.scale == 5.0
    view.set_picture(_picture(Extent(50, 100)))
    assert view.scale == 2.0


def test_a_line_shows_the_painting_left_of_it_and_can_be_dragged(view: PreviewView) -> None:
    asked: list[bool] = []
    view.before_wanted.connect(lambda: asked.append(True))
    view.set_picture(_picture(Extent(100, 100)))
    assert asked == []
    view.compare(True)
    assert asked == [True]
    view.set_before(_before(0x0000FF))
    assert (_shown(view, 150, 100), _shown(view, 250, 100)) == ("#0000ff", "#ff0000")
    _drag(view, QtCore.QPoint(200, 100), QtCore.QPoint(280, 100))
    assert (_shown(view, 250, 100), _shown(view, 290, 100)) == ("#0000ff", "#ff0000")
    view.compare(False)
    assert _shown(view, 150, 100) == "#ff0000"


def _drag(view: PreviewView, start: Any, end: Any) -> None:
    events, buttons = QtCore.QEvent.Type, QtCore.Qt.MouseButton
    for kind, place in (
        (events.MouseButtonPress, start), (events.MouseMove, end), (events.MouseButtonRelease, end)
    ):  # fmt: skip
        event = QtGui.QMouseEvent(
            kind, QtCore.QPointF(place), QtCore.QPointF(place), buttons.LeftButton,
            buttons.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        {
            events.MouseButtonPress: view.mousePressEvent,
            events.MouseMove: view.mouseMoveEvent,
            events.MouseButtonRelease: view.mouseReleaseEvent,
        }[kind](event)


def test_a_drag_beside_the_line_moves_the_picture(view: PreviewView) -> None:
    view.set_picture(_picture(Extent(100, 100)))
    _drag(view, QtCore.QPoint(200, 100), QtCore.QPoint(260, 100))
    assert view.scale == 2.0
    assert _shown(view, 355, 100) == "#ff0000"
    assert _shown(view, 155, 100) != "#ff0000"


def test_a_picture_of_a_selection_lies_in_its_place_on_the_painting(view: PreviewView) -> None:
    asked: list[bool] = []
    view.before_wanted.connect(lambda: asked.append(True))
    view.show()
    view.set_picture(_picture(Extent(100, 100), Bounds(50, 0, 50, 50)))
    assert asked == [True]
    view.set_before(_before(0x0000FF))
    assert _shown(view, 250, 50) == "#ff0000"
    assert _shown(view, 150, 50) == "#0000ff"
    assert _shown(view, 250, 150) == "#0000ff"
    view.hide()


def test_a_frame_of_512_px_costs_little(application: Any) -> None:
    panel = PreviewPanel(lambda _name: QtGui.QIcon())
    panel.resize(540, 580)
    pictures = [_picture(Extent(512, 512), colour=(n, n, n)) for n in range(20)]
    panel.view.grab()
    taken: list[float] = []
    for picture in pictures:
        started = time.perf_counter()
        panel.view.set_picture(picture)
        taken.append((time.perf_counter() - started) * 1000)
    # What is painted is Qt's, once a frame; ours on arrival must be next to nothing.
    assert sorted(taken)[10] < 4.0
