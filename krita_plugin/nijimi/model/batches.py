"""Batches that were asked for, and the backend's words on them, enter; the queue leaves.

Signals:
    changed()  a batch came, went, or is further on
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import BatchPhase, BatchState

from ..qt import QtCore, Signal
from ..texts import tr

__all__ = ["BatchEntry", "BatchQueue"]


@dataclass(frozen=True, kw_only=True)
class BatchEntry:
    """One batch that is not over. Fields as in ``BatchState``; ``look``: what is being made, as
    BGRA8 of its extent."""

    id: int
    title: str
    count: int
    is_running: bool = False
    done: int = 0
    step: int = 0
    steps: int = 0
    left_s: float = 0.0
    look: tuple[Extent, bytes] | None = None

    @property
    def part(self) -> float:
        """How much of it is done, in [0, 1]."""
        inside = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.done + inside) / self.count)

    def line(self) -> str:
        """How far it is, in words."""
        number = min(self.done + 1, self.count)
        if not self.left_s:
            return tr("Picture {number} of {count}", number=number, count=self.count)
        left = round(self.left_s)
        time = f"{left // 60}:{left % 60:02}"
        return tr("Picture {number} of {count}, {time} left", number=number, count=self.count,
                  time=time)  # fmt: skip


class BatchQueue(QtCore.QObject):
    """What runs and what waits, in the order in which it is made."""

    changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.entries: tuple[BatchEntry, ...] = ()
        self.is_preparing = False
        """Whether the canvas is still on its way, so that a batch can be asked for."""

    @property
    def running(self) -> BatchEntry | None:
        return next((entry for entry in self.entries if entry.is_running), None)

    @property
    def waiting(self) -> tuple[BatchEntry, ...]:
        return tuple(entry for entry in self.entries if not entry.is_running)

    def prepare(self, is_preparing: bool) -> None:
        if is_preparing != self.is_preparing:
            self.is_preparing = is_preparing
            self.changed.emit()

    def add(self, entry: BatchEntry) -> None:
        self._set((*self.entries, entry))

    def note(self, state: BatchState) -> None:
        """What the backend says; a batch that is over leaves the queue."""
        if state.state.is_over:
            self._set(tuple(entry for entry in self.entries if entry.id != state.batch_id))
            return
        self._set(
            tuple(
                replace(
                    entry,
                    is_running=state.state is BatchPhase.RUNNING,
                    done=state.done,
                    step=state.step,
                    steps=state.steps,
                    left_s=state.left_s,
                    look=next(((tile.bounds.extent, tile.data) for tile in state.tiles), None),
                )
                if entry.id == state.batch_id
                else entry
                for entry in self.entries
            )
        )

    def first(self, batch_id: int) -> tuple[int, ...]:
        """Let a batch that waits be the next one. What waits, in the new order."""
        waiting = sorted(self.waiting, key=lambda entry: entry.id != batch_id)
        running = tuple(entry for entry in self.entries if entry.is_running)
        self._set((*running, *waiting))
        return tuple(entry.id for entry in waiting)

    def put(self, entry: BatchEntry) -> None:
        """An entry that we count ourselves, in place of the one of its number, or as a new one."""
        others = tuple(each for each in self.entries if each.id != entry.id)
        self._set((entry, *others))

    def drop(self, batch_id: int) -> None:
        self._set(tuple(each for each in self.entries if each.id != batch_id))

    def clear(self) -> None:
        """The backend that knew of them is gone."""
        self._set(())

    def _set(self, entries: tuple[BatchEntry, ...]) -> None:
        if entries != self.entries:
            self.entries = entries
            self.changed.emit()
