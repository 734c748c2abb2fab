"""Ways to make one kind of frame as one piece of work enter; the quickest of them leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from ..models.device import is_device_lost
from .recorded import Recorder
from .request import Pixels

__all__ = [
    "LONGEST_MS",
    "MUST_AGREE_DB",
    "TRIAL_FRAMES",
    "WORTH_FRAMES",
    "SeenFrames",
    "WholeFrame",
    "WholeWays",
]

log = logging.getLogger(__name__)

WORTH_FRAMES = 16
"""So many that differ in nothing else show that more will come; and networks have begun to become
quicker by themselves, if they do."""

TRIAL_FRAMES = 6
"""Of it, until it has shown that it takes no longer than step by step."""

LONGEST_MS = 100.0
"""A frame that takes longer may be given up for a newer stroke, between its steps."""

MUST_AGREE_DB = 37.0
"""Of two frames by the same networks, whose kernels round differently: where each is 40 dB from
what full precision gives, and rounds by itself, they are so near to each other."""


class SeenFrames:
    """How often a kind of frame came, and the least time that one took."""

    def __init__(self) -> None:
        self._count, self.best_ms = 0, float("inf")

    def note(self, spent_ms: float) -> None:
        self._count += 1
        self.best_ms = min(self.best_ms, spent_ms)

    @property
    def is_worth_it(self) -> bool:
        return self._count >= WORTH_FRAMES and self.best_ms <= LONGEST_MS


class WholeWays:
    """One kind of frame by the ways that ``makers`` make, one after another, until it is known
    which is the quickest; that one stays, if it takes no longer than ``most_ms``."""

    def __init__(
        self, makers: Sequence[Callable[[], WholeFrame]], most_ms: float, clock: Callable[[], float]
    ) -> None:
        self._makers, self._clock = list(makers), clock
        self._try_another()
        self._best: WholeFrame | None = None
        self._best_ms = most_ms

    @property
    def has_lost(self) -> bool:
        """Whether no way is quick enough."""
        return not self._makers and self._trying is None and self._best is None

    def __call__(self, rgb: Pixels, tensors: tuple[torch.Tensor, ...]) -> Pixels:
        """RGB h x w x 3 in, opaque BGRA out; ``tensors``: the noise, words and hints."""
        while self._makers or self._trying is not None:
            if self._trying is None:
                self._trying = self._makers.pop(0)()
            is_last = not self._makers and self._best is None
            try:
                return self._try(self._trying, rgb, tensors)
            except (RuntimeError, TypeError, ValueError) as error:
                # The last one is the plain functions, which are not known to fail alone.
                if is_last or is_device_lost(error):
                    raise
                log.warning("a way to make whole frames failed; the next one is tried",
                            exc_info=True)  # fmt: skip
                self._try_another()
        assert self._best is not None
        return self._best(rgb, tensors)

    def _try_another(self) -> None:
        self._trying: WholeFrame | None = None
        self._tries, self._tried_ms = 0, float("inf")

    def _try(self, frame: WholeFrame, rgb: Pixels, tensors: tuple[torch.Tensor, ...]) -> Pixels:
        began = self._clock()
        made = frame(rgb, tensors)
        self._tries += 1
        if self._tries > 1:
            # The first one records.
            self._tried_ms = min(self._tried_ms, 1000.0 * (self._clock() - began))
        if self._tries == TRIAL_FRAMES:
            if self._tried_ms <= self._best_ms:
                self._best, self._best_ms = frame, self._tried_ms
            self._try_another()
        return made


class WholeFrame:
    """Bytes in and bytes out, by buffers that the device reads and writes by itself.

    ``instead_of``: other work that gives the same, with which the first frame is compared; it
    raises RuntimeError where they are less near than ``MUST_AGREE_DB``.
    """

    def __init__(
        self, work: Callable[..., torch.Tensor], recorder: Recorder, device: torch.device, *,
        instead_of: Callable[..., torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        self._work = recorder.pack_at_once(work, instead_of, None if instead_of is None else _near)
        self._device = device
        self._given: torch.Tensor | None = None
        self._made: torch.Tensor | None = None

    def __call__(self, rgb: Pixels, tensors: tuple[torch.Tensor, ...]) -> Pixels:
        if self._given is None:
            self._given = self._pinned(rgb.shape)
        np.copyto(self._given.numpy(), rgb)
        pixels = self._work(self._given.to(self._device, non_blocking=True), *tensors)
        if self._made is None:
            self._made = self._pinned(pixels.shape)
        self._made.copy_(pixels, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return self._made.numpy().copy()

    def _pinned(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=self._device.type == "cuda")


def _near(made: torch.Tensor, expected: torch.Tensor) -> bool:
    # Nothing shows through either of them.
    one, other = (each[..., :3].contiguous().cpu().numpy() for each in (made, expected))
    return cv2.PSNR(one, other) >= MUST_AGREE_DB
