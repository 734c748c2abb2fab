"""The strip of results: which one is looked at, and until when."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from nijimi.model.picture import Picture
from nijimi.model.results import Result, Results
from nijimi.qt import QtCore, QtGui, QtWidgets
from nijimi.ui.preview_view import PreviewPanel
from nijimi.ui.results_strip import ResultsStrip
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams


def _icon(_name: str) -> Any:
    return QtGui.QIcon()


class _Window:
    """A strip with two results, the preview and the canvas, as in one window of Krita's."""

    def __init__(self) -> None:
        self.results = Results()
        self.results.set_document("A")
        extent = Extent(8, 8)
        for n in (1, 2):
            picture = Picture(
                pixels=bytes(extent.pixels * 4), extent=extent, area=extent.bounds, canvas=extent,
                document_id="A", revision=1, is_final=True,
            )  # fmt: skip
            params = RenderParams(seed=n)
            self.results.add(
                Result(id=n, name=f"{n}", picture=picture, params=params, sampler="lcm")
            )
        self.widget = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(self.widget)
        self.strip = ResultsStrip(self.results, _icon)
        self.preview, self.canvas = PreviewPanel(_icon), QtWidgets.QLineEdit()
        self.label = QtWidgets.QLabel("a label")
        for each in (self.strip, self.preview, self.canvas, self.label):
            column.addWidget(each)
        self.widget.show()
        self.widget.activateWindow()
        QtWidgets.QApplication.processEvents()
        self.strip.setFocus()
        self.strip.setCurrentRow(0)

    def press(self, widget: Any) -> None:
        """As a painter does, so that Qt knows of the button, too."""
        top = self.widget.windowHandle()
        place = widget.mapTo(self.widget, widget.rect().center())
        # Of the same Qt as the plugin's.
        testing = importlib.import_module(f"{QtCore.__name__.partition('.')[0]}.QtTest").QTest
        qt = QtCore.Qt
        testing.mouseClick(top, qt.MouseButton.LeftButton, qt.KeyboardModifier.NoModifier, place)
        QtWidgets.QApplication.processEvents()

    @property
    def chosen(self) -> int | None:
        return self.results.chosen.id if self.results.chosen is not None else None


@pytest.fixture
def window(application: Any) -> Iterator[_Window]:
    window = _Window()
    yield window
    window.widget.close()
    window.widget.deleteLater()


def test_the_newest_is_first_and_a_click_shows_it(window: _Window) -> None:
    assert window.chosen == 2
    window.strip.setCurrentRow(1)
    assert window.chosen == 1


def test_a_chosen_picture_stays_while_it_is_looked_at_closely(window: _Window) -> None:
    window.preview.view.setFocus()
    assert window.preview.view.hasFocus()
    assert window.chosen == 2


def test_going_on_with_something_else_ends_the_look(window: _Window) -> None:
    window.preview.view.setFocus()
    window.press(window.canvas)
    assert window.canvas.hasFocus()
    assert window.chosen is None


def test_a_press_within_the_preview_does_not_end_the_look(window: _Window) -> None:
    window.press(window.preview.view)
    assert window.preview.view.hasFocus()
    assert window.chosen == 2


def test_a_pointer_over_the_canvas_does_not_end_the_look(window: _Window) -> None:
    # Krita gives the canvas the focus when a pointer has passed over it for a moment.
    window.canvas.setFocus()
    assert window.canvas.hasFocus()
    assert window.chosen == 2
    window.press(window.canvas)
    assert window.chosen is None


def test_a_press_on_what_takes_no_focus_does_not_end_the_look(window: _Window) -> None:
    window.press(window.label)
    assert window.chosen == 2


def test_a_press_with_nothing_chosen_chooses_nothing(window: _Window) -> None:
    window.results.choose(None)
    seen: list[object] = []
    window.strip._presses.seen.connect(seen.append)  # pyright: ignore[reportPrivateUsage]
    window.press(window.canvas)
    assert not seen
    assert window.chosen is None


def test_saving_it_does_not_end_the_look(window: _Window) -> None:
    dialog = QtWidgets.QDialog(window.widget)
    field = QtWidgets.QLineEdit(dialog)
    dialog.show()
    dialog.activateWindow()
    QtWidgets.QApplication.processEvents()
    field.setFocus()
    assert field.hasFocus()
    assert window.chosen == 2
    dialog.close()
