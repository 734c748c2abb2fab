"""Pictures of the document in front enter as thumbnails; what the painter does with one leaves.

Signals:
    applied(int, bool)  put it into a layer, or into one with a mask
    settings_taken(int) go on from what it was made with
    opened(int)         make a document of it
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..model.packed_results import pack_result
from ..model.picture import APPLY_MASKED, APPLY_NEW, APPLY_REPLACING, picture_image
from ..model.results import Digests, Result, Results
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr
from .pixmaps import small_pixmap
from .preview_view import PreviewPanel

__all__ = ["ResultsStrip", "save_png"]

_SIDE_PX = 72


class ResultsStrip(QtWidgets.QListWidget):
    """One row of thumbnails, the newest first. A click shows one, a double click applies it."""

    applied = Signal(int, str)
    settings_taken = Signal(int)
    opened = Signal(int)

    def __init__(
        self,
        results: Results,
        icon: Callable[[str], Any],
        digests: Digests = lambda _params: ("", {}),
    ) -> None:
        super().__init__()
        self._digests = digests
        self._results = results
        self._icon = icon
        self._thumbnails: dict[int, Any] = {}
        self.setObjectName("nijimi_results")
        self.setViewMode(QtWidgets.QListView.ViewMode.IconMode)
        self.setFlow(QtWidgets.QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setMovement(QtWidgets.QListView.Movement.Static)
        self.setIconSize(QtCore.QSize(_SIDE_PX, _SIDE_PX))
        self.setSpacing(1)
        self.setStyleSheet(
            "QListView::item { padding: 2px; }"
            "QListView::item:selected { background: palette(highlight); }"
        )
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bar = self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(_SIDE_PX + bar + 14)
        # As wide as the docker, and no wider.
        self.setMinimumWidth(_SIDE_PX)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.setAccessibleName(tr("Generated pictures"))
        self.setContextMenuPolicy(QtCore.Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._show_menu)
        self.currentItemChanged.connect(self._chosen)
        self.itemActivated.connect(self._apply)
        self._presses = _Presses(self)
        self._presses.seen.connect(self._pressed)
        results.changed.connect(self._fill)
        results.chosen_changed.connect(self._follow)
        results.chosen_changed.connect(self._watch_presses)
        self._fill()

    def menu_for(self, result: Result) -> Any:
        """What can be done with one."""
        menu = QtWidgets.QMenu(self)
        for icon, text, how in (
            ("addlayer", "Apply", APPLY_NEW),
            ("transparencyMask", "Apply with a mask", APPLY_MASKED),
            ("duplicatelayer", "Apply in place of the last one", APPLY_REPLACING),
        ):
            menu.addAction(
                self._icon(icon), tr(text), lambda how=how: self.applied.emit(result.id, how)
            )
        menu.addAction(tr("Use its settings"), lambda: self.settings_taken.emit(result.id))
        menu.addAction(
            self._icon("document-new"),
            tr("Open as a new document"),
            lambda: self.opened.emit(result.id),
        )
        menu.addAction(tr("Copy prompt and seed"), lambda: _copy(result.info(self._digests)))
        menu.addAction(
            self._icon("document-save"), tr("Save as PNG..."), lambda: self._save(result)
        )
        menu.addSeparator()
        menu.addAction(
            self._icon("edit-delete"), tr("Remove"), lambda: self._results.remove(result.id)
        )
        menu.addAction(tr("Remove all"), self._results.clear)
        return menu

    def keyPressEvent(self, event: Any) -> None:
        result = self._result(self.currentItem())
        if event.key() == QtCore.Qt.Key.Key_Delete and result is not None:
            self._results.remove(result.id)
        elif event.key() == QtCore.Qt.Key.Key_Escape:
            self._results.choose(None)
        else:
            super().keyPressEvent(event)

    def _watch_presses(self) -> None:
        """While one is chosen: of all events of Krita's, so for no longer than that."""
        application = QtWidgets.QApplication.instance()
        if self._results.chosen is None:
            application.removeEventFilter(self._presses)
        else:
            application.installEventFilter(self._presses)

    def _pressed(self, widget: Any) -> None:
        """The painter goes on with what takes the focus: the canvas shows what is live again.

        Looking closely at the chosen one, or saving it, is not going on. The focus itself tells
        less: Krita gives it to the canvas when a pointer passes over it for a moment.
        """
        if QtWidgets.QApplication.activePopupWidget() is not None:
            return
        takes_focus = False
        while widget is not None:
            if widget is self or isinstance(widget, (PreviewPanel, QtWidgets.QDialog)):
                return
            takes_focus |= bool(widget.focusPolicy() & QtCore.Qt.FocusPolicy.ClickFocus)
            widget = widget.parentWidget()
        if takes_focus:
            self._results.choose(None)

    def _fill(self) -> None:
        entries = self._results.entries
        known = {entry.id for entry in entries}
        self._thumbnails = {n: icon for n, icon in self._thumbnails.items() if n in known}
        self.blockSignals(True)
        self.clear()
        for entry in reversed(entries):
            if entry.id not in self._thumbnails:
                self._thumbnails[entry.id] = _thumbnail(entry, self.devicePixelRatioF())
            item = QtWidgets.QListWidgetItem(self._thumbnails[entry.id], "")
            item.setData(_id_role(), entry.id)
            words = " ".join(entry.params.prompt.split())
            item.setToolTip(tr("{prompt}\nSeed {seed}", prompt=words, seed=entry.params.seed))
            self.addItem(item)
        self.blockSignals(False)
        self.setVisible(bool(entries))
        self._follow()

    def _follow(self) -> None:
        """Another one is chosen, or none."""
        chosen = self._results.chosen
        self.blockSignals(True)
        if chosen is None:
            self.setCurrentItem(None)
            self.clearSelection()
        for n in range(self.count()):
            if chosen is not None and self.item(n).data(_id_role()) == chosen.id:
                self.setCurrentRow(n)
        self.blockSignals(False)

    def _chosen(self, item: Any, _before: Any) -> None:
        self._results.choose(item.data(_id_role()) if item is not None else None)

    def _apply(self, item: Any) -> None:
        self.applied.emit(item.data(_id_role()), APPLY_NEW)

    def _result(self, item: Any) -> Result | None:
        return self._results.get(item.data(_id_role())) if item is not None else None

    def _show_menu(self, place: Any) -> None:
        if (result := self._result(self.itemAt(place))) is not None:
            self.menu_for(result).exec(self.mapToGlobal(place))

    def _save(self, result: Result) -> None:
        name, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, tr("Save as PNG..."), f"nijimi-{result.params.seed}.png", "PNG (*.png)"
        )
        if name and not save_png(result, name, result.info(self._digests)):
            QtWidgets.QMessageBox.warning(
                self,
                "Nijimi",
                tr("{path} cannot be written. Choose another folder.", path=name),
            )


class _Presses(QtCore.QObject):
    """Tells which widgets a mouse, a pen or a finger is pressed on; nothing is kept from them."""

    seen = Signal(object)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        types = QtCore.QEvent.Type
        if event.type() in (
            types.MouseButtonPress, types.TabletPress, types.TouchBegin,
        ) and isinstance(watched, QtWidgets.QWidget):  # fmt: skip
            self.seen.emit(watched)
        return False


def _id_role() -> Any:
    """Where an item keeps the number of its result."""
    return QtCore.Qt.ItemDataRole.UserRole


def save_png(result: Result, name: str, info: str = "") -> bool:
    """Write it with what it was made from: ``info``, or its own text. False where it cannot be."""
    path = Path(name) if Path(name).suffix else Path(name).with_suffix(".png")
    try:
        path.write_bytes(pack_result(result, info))
    except OSError:
        return False
    return True


def _thumbnail(result: Result, ratio: float) -> Any:
    pixmap = small_pixmap(picture_image(result.picture), _SIDE_PX, ratio)
    icon = QtGui.QIcon()
    # Qt would tint the icon of the chosen one.
    icon.addPixmap(pixmap, QtGui.QIcon.Mode.Normal)
    icon.addPixmap(pixmap, QtGui.QIcon.Mode.Selected)
    return icon


def _copy(text: str) -> None:
    clipboard = QtWidgets.QApplication.clipboard()
    clipboard.setText(text)
