"""Batches that a client asked for enter; the next picture to make, and what became of each, leaves.

A batch holds the state as it was when it was asked for, whatever the painter does meanwhile. Its
pictures are made when nothing live is waiting, but after ``PATIENCE_S`` one has its turn all the
same. The next one is made when the last has been sent: a slow reader costs one picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nijimi_protocol.geometry import Bounds
from nijimi_protocol.limits import MAX_BATCHES
from nijimi_protocol.messages import BatchPhase, BatchState, Generate
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile
from nijimi_protocol.upscale import UpscaleParams

from ..engine.request import FrameRequest, Pixels
from .canvas_state import Snapshot

__all__ = ["PATIENCE_S", "Batch", "Batches"]

PATIENCE_S = 8.0
"""For so long a picture of a batch lets live ones go first."""


@dataclass(kw_only=True)
class Batch:
    """One batch; ``snapshot`` holds copies of its own."""

    id: int
    snapshot: Snapshot
    count: int
    upscale: UpscaleParams | None = None
    done: int = 0
    step: int = 0
    steps: int = 0
    spent_s: float = 0.0
    """What its finished pictures took."""
    is_cancelled: bool = False
    looks: bool = False
    """Whether its client wants to see what is being made."""
    look: Pixels | None = None

    @classmethod
    def wished(cls, wish: Generate, snapshot: Snapshot) -> Batch:
        return cls(id=wish.batch_id, snapshot=snapshot, count=wish.count, upscale=wish.upscale,
                   looks=wish.looks)  # fmt: skip

    @property
    def request(self) -> FrameRequest | None:
        """The next picture, with the model's own autoencoder; None where there is no canvas."""
        request = self.snapshot.request(full_quality=False)
        if request is None or (self.upscale is not None and request.canvas is None):
            return None
        return replace(
            request,
            params=request.params.variation(self.done),
            exact=True,
            upscale=self.upscale,
            on_look=self._keep_look if self.looks else None,
        )

    def begin_picture(self) -> None:
        """Nothing of the next one is done."""
        self.step, self.look = 0, None

    def _keep_look(self, pixels: Pixels) -> None:
        self.look = pixels

    def state(self, phase: BatchPhase, running_s: float = 0.0) -> BatchState:
        """How far it is; ``running_s`` is how long the picture that is being made took by now."""
        return BatchState(
            batch_id=self.id,
            state=phase,
            done=self.done,
            step=self.step,
            steps=self.steps,
            left_s=0.0 if phase.is_over else round(self._left_s(running_s), 1),
            tiles=() if phase.is_over or self.look is None else (_tile(self.look),),
        )

    def _left_s(self, running_s: float) -> float:
        part = self.step / self.steps if self.steps else 0.0
        if self.done:
            each_s = self.spent_s / self.done
        elif part:
            each_s = running_s / part
        else:
            return 0.0
        return max(0.0, each_s * (self.count - self.done) - running_s)


def _tile(look: Pixels) -> Tile:
    height, width = look.shape[:2]
    area = Bounds(0, 0, width, height)
    return pack_tile(area, PixelFormat.BGRA8, look.tobytes(), Encoding.RAW)


class Batches:
    """One client's queue. Mutable; guarded by the worker's lock."""

    def __init__(self) -> None:
        self._waiting: list[Batch] = []
        self.running: Batch | None = None
        self.unsent = 0
        """Pictures that are made and not sent yet."""
        self._since_s: float | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (self.running is not None)

    @property
    def is_full(self) -> bool:
        return len(self) >= MAX_BATCHES

    def add(self, batch: Batch) -> None:
        self._waiting.append(batch)

    def order(self, ids: tuple[int, ...]) -> None:
        """Those that wait, in that order; others come behind them as they were."""
        place = {each: n for n, each in enumerate(ids)}
        self._waiting.sort(key=lambda batch: place.get(batch.id, len(place)))

    def cancel(self, batch_id: int) -> Batch | None:
        """The batch if it waited, which is then gone; one that runs is given up between steps."""
        if self.running is not None and self.running.id == batch_id:
            self.running.is_cancelled = True
        for batch in self._waiting:
            if batch.id == batch_id:
                self._waiting.remove(batch)
                return batch
        return None

    def clear(self) -> None:
        """The client is gone."""
        self._waiting.clear()
        if self.running is not None:
            self.running.is_cancelled = True

    def has_work(self) -> bool:
        return bool(self.unsent == 0 and (self.running is not None or self._waiting))

    def is_due(self, now_s: float) -> bool:
        """Whether the next picture has waited long enough behind live ones."""
        if not self.has_work():
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= PATIENCE_S

    def take(self) -> Batch:
        """The batch whose picture is to be made now; it stays the one until it is over."""
        self._since_s = None
        if self.running is None:
            self.running = self._waiting.pop(0)
        return self.running

    def over(self) -> None:
        """The one that ran has ended in one way or another."""
        self.running = None
