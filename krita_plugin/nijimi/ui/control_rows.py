"""The document's control layers enter; a row for each leaves, and the painter's changes of them.

Signals:
    add_clicked(str)   the active layer is to become a control of that kind
    pose_clicked(str)  a person of that preset is wanted, in the pose layer or in a new one
    file_chosen(str)   an OpenPose file is to be read
    find_clicked()     people in the canvas, or in what is selected, are wanted as a pose
    picture_chosen(str)  those of a picture file
    select_clicked(str)  somebody of that row is to be selected for Krita's own tool
    mirror_clicked(str)  somebody of that row is to be turned round
    save_chosen(str, str)  the people of that row are to be written to an OpenPose file
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.controls import KINDS, MAX_ROWS, REGION, Controls
from ..qt import QtWidgets, Signal
from ..texts import tr
from .control_row import ControlRowWidget
from .fields import dropped_file
from .prompt_editor import Words

__all__ = ["ControlRows"]


class ControlRows(QtWidgets.QWidget):
    """The rows in their order, and a button for more of them."""

    add_clicked = Signal(str)
    pose_clicked = Signal(str)
    file_chosen = Signal(str)
    find_clicked = Signal()
    picture_chosen = Signal(str)
    save_chosen = Signal(str, str)
    select_clicked = Signal(str)
    mirror_clicked = Signal(str)

    def __init__(
        self,
        controls: Controls,
        icon: Callable[[str], Any],
        presets: tuple[str, ...],
        words: Words,
    ) -> None:
        super().__init__()
        self._controls = controls
        self._icon = icon
        self._words = words
        self._rows: dict[str, ControlRowWidget] = {}
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
        menu.addAction(tr("Pose of the people in the canvas"), self.find_clicked.emit)
        menu.addAction(tr("Pose of the people in a picture..."), self._choose_picture)
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
        regions = [row for row in rows if row.kind == REGION]
        for row_id in [row_id for row_id in self._rows if row_id not in known]:
            widget = self._rows.pop(row_id)
            self._layout.removeWidget(widget)
            widget.deleteLater()
        for n, row in enumerate(rows):
            if row.id not in self._rows:
                self._rows[row.id] = self._make_row(row.id)
            if self._layout.indexOf(self._rows[row.id]) != n:
                self._layout.insertWidget(n, self._rows[row.id])
            self._rows[row.id].show_row(row, regions, is_first=n == 0, is_last=n == len(rows) - 1)
        self._add.setEnabled(len(rows) < MAX_ROWS)

    def _make_row(self, row_id: str) -> ControlRowWidget:
        row = ControlRowWidget(row_id, self._controls, self._icon, self._words)
        row.save_clicked.connect(lambda: self._save(row_id))
        row.select_clicked.connect(lambda: self.select_clicked.emit(row_id))
        row.mirror_clicked.connect(lambda: self.mirror_clicked.emit(row_id))
        return row

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

    def _choose_picture(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self,
            tr("Pose of the people in a picture"),
            "",
            f"{tr('Pictures')} (*.png *.jpg *.jpeg *.webp *.bmp)",
        )
        if path:
            self.picture_chosen.emit(path)

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
