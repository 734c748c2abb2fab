"""The document's control layers enter; a row for each leaves, and the painter's changes of them.

Signals:
    add_clicked(str)   the active layer is to become a control of that kind
    pose_clicked(str)  a person of that preset is wanted, in the pose layer or in a new one
    file_chosen(str)   an OpenPose file is to be read
    save_chosen(str, str)  the people of that row are to be written to an OpenPose file
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.controls import KINDS, MAX_ROWS, ControlRow, Controls
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr
from .fields import dropped_file

__all__ = ["ControlRows"]

_TITLES = dict(KINDS)
_THUMBNAIL_PX = 24

_FROM_PICTURE = ("scribble", "lineart", "softedge", "canny", "mlsd", "blur")
"""Hints that the backend can make of a picture."""


class ControlRows(QtWidgets.QWidget):
    """One row a control: on or off, kind and layer, strength; the rest in its menu."""

    add_clicked = Signal(str)
    pose_clicked = Signal(str)
    file_chosen = Signal(str)
    save_chosen = Signal(str, str)

    def __init__(
        self, controls: Controls, icon: Callable[[str], Any], presets: tuple[str, ...]
    ) -> None:
        super().__init__()
        self._controls = controls
        self._icon = icon
        self._rows: dict[str, _Row] = {}
        self._layout = QtWidgets.QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self._add = QtWidgets.QPushButton(tr("Add control"))
        self._add.setObjectName("nijimi_add_control")
        self._add.setAutoDefault(False)
        self._add.setIcon(icon("list-add"))
        self._add.setToolTip(tr("Let a pose, lines or another layer lead the picture."))
        menu = QtWidgets.QMenu(self._add)
        people = menu.addMenu(tr("Person"))
        for name in presets:
            people.addAction(tr(name.capitalize()), lambda name=name: self.pose_clicked.emit(name))
        menu.addAction(tr("Pose from an OpenPose file..."), self._choose_file)
        menu.addSeparator()
        for kind, title in KINDS:
            menu.addAction(
                tr("{kind} from the active layer", kind=tr(title)),
                lambda kind=kind: self.add_clicked.emit(kind),
            )
        self._add.setMenu(menu)
        self._layout.addWidget(self._add)
        self.setAcceptDrops(True)
        controls.changed.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        rows = self._controls.rows
        known = {row.id for row in rows}
        for row_id in [row_id for row_id in self._rows if row_id not in known]:
            widget = self._rows.pop(row_id)
            self._layout.removeWidget(widget)
            widget.deleteLater()
        for n, row in enumerate(rows):
            if row.id not in self._rows:
                self._rows[row.id] = _Row(row.id, self._controls, self._icon, self._save)
            if self._layout.indexOf(self._rows[row.id]) != n:
                self._layout.insertWidget(n, self._rows[row.id])
            self._rows[row.id].show_row(row, is_first=n == 0, is_last=n == len(rows) - 1)
        self._add.setEnabled(len(rows) < MAX_ROWS)

    def show_thumbnail(self, row_id: str, image: Any) -> None:
        """What a row's layer looks like now; None where it is gone."""
        if row_id in self._rows:
            self._rows[row_id].show_thumbnail(image)

    def _choose_file(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self, tr("Pose from an OpenPose file"), "", "OpenPose (*.json)"
        )
        if path:
            self.file_chosen.emit(path)

    def _save(self, row_id: str) -> None:
        path, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, tr("Save as an OpenPose file"), "pose.json", "OpenPose (*.json)"
        )
        if path:
            self.save_chosen.emit(row_id, path)

    def dragEnterEvent(self, event: Any) -> None:
        if dropped_file(event, ".json"):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        if path := dropped_file(event, ".json"):
            self.file_chosen.emit(path)


class _Row(QtWidgets.QWidget):
    """One control."""

    def __init__(
        self,
        row_id: str,
        controls: Controls,
        icon: Callable[[str], Any],
        save: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.setObjectName(f"nijimi_control_{row_id}")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
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
        self._process = menu.addAction(tr("The layer is a picture: find its lines"))
        self._process.setCheckable(True)
        self._process.toggled.connect(lambda on: controls.update(row_id, process=on))
        self._save = menu.addAction(tr("Save as an OpenPose file..."), lambda: save(row_id))
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

    def show_row(self, row: ControlRow, *, is_first: bool, is_last: bool) -> None:
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
        self._process.setChecked(row.process)
        self._save.setVisible(row.kind == "pose")
        self._up.setEnabled(not is_first)
        self._down.setEnabled(not is_last)
        for known, action in self._ranges.items():
            action.setChecked(known == (row.start, row.end))
