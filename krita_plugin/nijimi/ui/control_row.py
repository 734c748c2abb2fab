"""A control layer enters; its row leaves, with what the painter may change of it.

Signals, all of a pose's menu:
    save_clicked()    its people are to be written to a file
    select_clicked()  somebody is to be selected for Krita's own tool
    mirror_clicked()  somebody is to be turned round
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..model.controls import KINDS, REFERENCES, REGION, ControlRow, Controls
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr
from .prompt_editor import PromptEditor, Words

__all__ = ["ControlRowWidget"]

_TITLES = dict(KINDS)
_THUMBNAIL_PX = 24

_LINES = "The layer is a picture: find its lines"
_DEPTH = "The layer is a picture: see its depth"
_FROM_PICTURE = {
    **dict.fromkeys(("scribble", "lineart", "softedge", "canny", "mlsd"), _LINES),
    "blur": "The layer is a picture: blur it",
    "pose": "The layer is a picture: see the people in it",
    "depth": _DEPTH,
    "normal": _DEPTH,
}
"""Hints that the backend can make of a picture, and how that is asked for."""


class ControlRowWidget(QtWidgets.QWidget):
    """On or off, kind and layer, strength; the rest in its menu. A region has a prompt below."""

    save_clicked = Signal()
    select_clicked = Signal()
    mirror_clicked = Signal()

    def __init__(
        self,
        row_id: str,
        controls: Controls,
        icon: Callable[[str], Any],
        words: Words,
    ) -> None:
        super().__init__()
        self.setObjectName(f"nijimi_control_{row_id}")
        self._controls = controls
        self._row_id = row_id
        self._regions: tuple[ControlRow, ...] = ()
        self._shown = ControlRow(id=row_id, kind="", node_id="", node_name="")
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(4)
        column.addLayout(row)
        self._on = QtWidgets.QCheckBox()
        self._on.setObjectName(f"nijimi_control_{row_id}_on")
        # A long name is cut; it never widens the docker.
        policy = QtWidgets.QSizePolicy.Policy
        self._on.setSizePolicy(policy.Ignored, policy.Preferred)
        self._on.toggled.connect(lambda on: controls.update(row_id, enabled=on))
        self._on.setIconSize(QtCore.QSize(_THUMBNAIL_PX, _THUMBNAIL_PX))
        self._scale = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._scale.setObjectName(f"nijimi_control_{row_id}_scale")
        self._scale.setRange(0, 200)
        self._scale.setMinimumWidth(40)
        self._scale.setToolTip(tr("How strongly it leads: 100 % is as it was trained."))
        self._scale.valueChanged.connect(lambda value: controls.update(row_id, scale=value / 100))
        self._percent = QtWidgets.QLabel()
        self._percent.setMinimumWidth(self.fontMetrics().horizontalAdvance("200 %"))
        more = QtWidgets.QToolButton()
        more.setObjectName(f"nijimi_control_{row_id}_more")
        more.setAutoRaise(True)
        more.setIcon(icon("properties"))
        more.setToolTip(tr("Steps, how the layer is read, remove"))
        more.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QtWidgets.QMenu(more)
        self._process = menu.addAction(tr(_LINES))
        self._process.setCheckable(True)
        self._process.toggled.connect(lambda on: controls.update(row_id, process=on))
        self._of_pose = [
            menu.addAction(tr("Select a person"), self.select_clicked.emit),
            menu.addAction(tr("Mirror a person"), self.mirror_clicked.emit),
            menu.addAction(tr("Save as an OpenPose file..."), self.save_clicked.emit),
        ]
        self._where = menu.addMenu(tr("Where it counts"))
        self._where.aboutToShow.connect(self._list_places)
        menu.addSeparator()
        self._ranges: dict[tuple[float, float], Any] = {}
        for text, start, end in (
            ("All steps", 0.0, 1.0),
            ("The first half of the steps", 0.0, 0.5),
            ("The last half of the steps", 0.5, 1.0),
        ):
            action = menu.addAction(tr(text))
            action.setCheckable(True)
            action.triggered.connect(
                lambda _=False, start=start, end=end: controls.update(row_id, start=start, end=end)
            )
            self._ranges[start, end] = action
        menu.addSeparator()
        self._up = menu.addAction(
            icon("arrow-up"), tr("Move up"), lambda: controls.move(row_id, -1)
        )
        self._down = menu.addAction(
            icon("arrow-down"), tr("Move down"), lambda: controls.move(row_id, 1)
        )
        menu.addAction(icon("edit-delete"), tr("Remove"), lambda: controls.remove(row_id))
        more.setMenu(menu)
        row.addWidget(self._on, 5)
        row.addWidget(self._scale, 2)
        row.addWidget(self._percent)
        row.addWidget(more)
        self._prompt = PromptEditor("", words)
        self._prompt.setObjectName(f"nijimi_control_{row_id}_prompt")
        self._prompt.setPlaceholderText(tr("What is here, e.g. a red boat"))
        self._prompt.setFixedHeight(2 * self._prompt.fontMetrics().lineSpacing() + 12)
        self._prompt.rested.connect(self._prompt_typed)
        column.addWidget(self._prompt)

    def _prompt_typed(self, text: str) -> None:
        self._shown = replace(self._shown, prompt=text)
        self._controls.update(self._row_id, prompt=text)

    def _list_places(self) -> None:
        self._where.clear()
        places = [("", tr("Everywhere")), *((each.id, each.node_name) for each in self._regions)]
        for region_id, name in places:
            action = self._where.addAction(
                name.replace("&", "&&"),
                lambda region_id=region_id: self._controls.update(self._row_id, region=region_id),
            )
            action.setCheckable(True)
            action.setChecked(region_id == self._shown.region)

    def show_thumbnail(self, image: Any) -> None:
        if image is None:
            self._on.setIcon(QtGui.QIcon())
            return
        pixmap = QtGui.QPixmap.fromImage(image)
        # Dark lines on nothing would not be seen on a dark docker.
        paper = QtGui.QPixmap(pixmap.size())
        paper.fill(self.palette().color(QtGui.QPalette.ColorRole.Mid))
        painter = QtGui.QPainter(paper)
        painter.drawPixmap(0, 0, pixmap)
        painter.end()
        self._on.setIcon(QtGui.QIcon(paper))

    def show_row(
        self, row: ControlRow, regions: Sequence[ControlRow], *, is_first: bool, is_last: bool
    ) -> None:
        is_region = row.kind == REGION
        if (row.prompt, row.node_id) != (self._shown.prompt, self._shown.node_id):
            # Another document's row, or words from elsewhere: never over what is being typed.
            self._prompt.setPlainText(row.prompt)
        self._shown = row
        self._regions = tuple(regions)
        self._prompt.setVisible(is_region)
        self._where.menuAction().setVisible(
            bool(regions) and not is_region and row.kind not in REFERENCES
        )
        # More than all of its words does not exist.
        self._scale.setMaximum(100 if is_region else 200)
        title = tr(_TITLES.get(row.kind, row.kind))
        self._on.setText(f"{title}: {row.node_name}")
        self._on.setToolTip(
            tr(
                "{kind} by the layer {name}; off keeps its settings.",
                kind=title,
                name=row.node_name,
            )
        )
        self._on.setChecked(row.enabled)
        self._scale.setValue(round(100 * row.scale))
        self._percent.setText(f"{round(100 * row.scale)} %")
        self._process.setVisible(row.kind in _FROM_PICTURE)
        self._process.setText(tr(_FROM_PICTURE.get(row.kind, _LINES)))
        self._process.setChecked(row.process)
        for action in self._of_pose:
            action.setVisible(row.kind == "pose" and not row.process)
        self._up.setEnabled(not is_first)
        self._down.setEnabled(not is_last)
        for known, action in self._ranges.items():
            action.setChecked(known == (row.start, row.end))
