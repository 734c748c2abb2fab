"""Settings and the queue of batches enter; a row to ask for pictures, and how far they are, leaves.

Signals:
    generate_clicked()
    cancel_clicked()
    batch_cancelled(int)  one that waits, or runs, is not wanted any more
    batch_first(int)      one that waits shall be the next
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import MAX_BATCH_PICTURES

from ..model.batches import BatchEntry, BatchQueue
from ..model.settings import Settings
from ..qt import QtGui, QtWidgets, Signal
from ..texts import tr
from .fields import NumberField
from .pixmaps import small_pixmap

__all__ = ["GenerateRow"]

_PARTS = 1000
_LOOK_PX = 64


class GenerateRow(QtWidgets.QWidget):
    """Generate, how many, how well; below it the progress, while there is any."""

    generate_clicked = Signal()
    cancel_clicked = Signal()
    batch_cancelled = Signal(int)
    batch_first = Signal(int)

    def __init__(self, settings: Settings, queue: BatchQueue, icon: Callable[[str], Any]) -> None:
        super().__init__()
        self._queue = queue
        self._icon = icon
        rows = QtWidgets.QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addLayout(self._wish_row(settings))
        self._progress_row = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self._progress_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        self._look = QtWidgets.QLabel()
        self._look.setObjectName("nijimi_look")
        self._look.setToolTip(tr("What is being made, roughly, as far as it is."))
        self._bar = QtWidgets.QProgressBar()
        self._bar.setObjectName("nijimi_progress")
        self._bar.setRange(0, _PARTS)
        # A long text is cut; it never widens the docker.
        policy = QtWidgets.QSizePolicy.Policy
        self._bar.setSizePolicy(policy.Ignored, policy.Fixed)
        self._waiting = QtWidgets.QToolButton()
        self._waiting.setObjectName("nijimi_waiting")
        self._waiting.setAutoRaise(True)
        self._waiting.setToolTip(tr("Batches that wait: let one go first, or take it back."))
        self._waiting.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QtWidgets.QMenu(self._waiting)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._waiting.setMenu(self._menu)
        self._cancel = QtWidgets.QToolButton()
        self._cancel.setObjectName("nijimi_cancel")
        self._cancel.setAutoRaise(True)
        self._cancel.setIcon(icon("dialog-cancel"))
        self._cancel.setToolTip(tr("Give up everything that is being generated or waits."))
        self._cancel.clicked.connect(self.cancel_clicked)
        row.addWidget(self._look)
        row.addWidget(self._bar, 1)
        row.addWidget(self._waiting)
        row.addWidget(self._cancel)
        rows.addWidget(self._progress_row)
        queue.changed.connect(self._show_queue)
        self._show_queue()

    def generate(self) -> None:
        """As its button does."""
        self._button.click()

    def _wish_row(self, settings: Settings) -> Any:
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(6)
        self._button = QtWidgets.QPushButton(tr("Generate"))
        self._button.setObjectName("nijimi_generate")
        self._button.setAutoDefault(False)
        self._button.setToolTip(
            tr("Finished pictures of the canvas as it is now, each with a seed of its own.")
        )
        self._button.clicked.connect(self.generate_clicked)
        row.addWidget(self._button, 1)
        row.addWidget(
            NumberField(settings, "batch_count", 1, MAX_BATCH_PICTURES, "How many pictures.", " ×")
        )
        row.addWidget(
            NumberField(
                settings, "final_steps", 1, 100, "Steps of a finished picture.", tr(" steps")
            )
        )
        return row

    def _show_queue(self) -> None:
        running, waiting = self._queue.running, self._queue.waiting
        is_busy = bool(running or waiting or self._queue.is_preparing)
        self._progress_row.setVisible(is_busy)
        self._show_look(running.look if running is not None else None)
        self._waiting.setVisible(bool(waiting))
        self._waiting.setText(f"+{len(waiting)}" if waiting else "")
        if running is not None:
            self._bar.setRange(0, _PARTS)
            self._bar.setValue(round(_PARTS * running.part))
            self._bar.setFormat(running.line())
        elif is_busy:
            # Nothing is known yet: Qt shows a range of nothing as a bar that moves.
            self._bar.setRange(0, 0)
            self._bar.setFormat(tr("Waiting…"))

    def _show_look(self, look: tuple[Extent, bytes] | None) -> None:
        self._look.setVisible(look is not None)
        if look is None:
            return
        extent, pixels = look
        image = QtGui.QImage(pixels, *extent, QtGui.QImage.Format.Format_RGB32)
        self._look.setPixmap(small_pixmap(image, _LOOK_PX, self.devicePixelRatioF()))

    def _fill_menu(self) -> None:
        self._menu.clear()
        for entry in self._queue.waiting:
            part = self._menu.addMenu(_title(entry))
            part.addAction(
                self._icon("arrow-up"), tr("Next"), partial(self.batch_first.emit, entry.id)
            )
            part.addAction(
                self._icon("edit-delete"),
                tr("Take back"),
                partial(self.batch_cancelled.emit, entry.id),
            )


def _title(entry: BatchEntry) -> str:
    words = entry.title if len(entry.title) <= 40 else entry.title[:39] + "…"
    # Qt would underline what follows an ampersand.
    return f"{entry.count} × {words}".replace("&", "&&")
