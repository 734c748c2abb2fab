"""Stages of a frame enter; the milliseconds that each took leave."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch

__all__ = ["StageClock"]


class StageClock:
    """Milliseconds of each stage; waits for the device before it reads, where that matters."""

    def __init__(self, *, is_cuda: bool) -> None:
        self._is_cuda = is_cuda
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        started = time.perf_counter()
        yield
        if self._is_cuda:
            torch.cuda.synchronize()
        spent = (time.perf_counter() - started) * 1000
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + spent
