"""The backend's command line enters; the real server leaves, with an engine that needs no model.

A picture is the canvas with its colours turned round, made in some milliseconds: what is tested is
everything around the networks, thousands of times. A prompt of ``FAULTS`` makes it fail as named.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nijimi_backend import serve_command
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import DeviceLost, DiskFull, OutOfMemory, RenderCancelled
from nijimi_backend.session.jobs import CompanyLike, EngineLike

__all__ = ["FAULTS", "QuickEngine", "open_quick"]


def _exit() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    ctypes.string_at(0)


def _raise(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


FAULTS: dict[str, Callable[[], None]] = {
    "fault memory": _raise(OutOfMemory("The picture does not fit.", "Close other programs.")),
    "fault disk": _raise(DiskFull("The disk is full.", "Make room.")),
    "fault device": _raise(DeviceLost("The graphics card failed.", "It starts again.")),
    "fault ours": _raise(RuntimeError("what nobody thought of: fault ours")),
    "fault killed": _exit,
    "fault segfault": _segfault,
    "fault hang": lambda: time.sleep(10_000),
}
"""As a real engine fails, or worse."""

_STEPS = 4
_STEP_S = 0.003


@dataclass(frozen=True)
class _Model:
    name: str = "quick"


class QuickEngine:
    """Does in a moment what an engine does."""

    device = "none"
    model = _Model()

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> Picture:
        started = time.perf_counter()
        if fault := FAULTS.get(request.params.prompt):
            fault()
        for step in range(_STEPS):
            if should_stop():
                raise RenderCancelled
            time.sleep(_STEP_S)
            on_step(step + 1, _STEPS)
        width, height = request.extent
        pixels = np.full((height, width, 4), 255, np.uint8)
        if request.canvas is not None:
            pixels[..., :3] = 255 - request.canvas[..., :3]
        if request.mask is not None:
            pixels[..., 3] = request.mask
        return Picture(
            pixels=pixels,
            area=request.extent.bounds,
            seed=request.params.seed,
            num_inference_steps=_STEPS,
            model_ms=(time.perf_counter() - started) * 1000,
        )

    def joins(self, request: FrameRequest) -> None:
        return None

    def company(self) -> CompanyLike:
        raise AssertionError("its pictures are made alone")


def open_quick(name: str, progress: Callable[[str, int, int], None]) -> EngineLike:
    """An engine at once, whatever its name."""
    return QuickEngine()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    parser = argparse.ArgumentParser()
    serve_command.add_arguments(parser)
    sys.exit(serve_command.run(parser.parse_args(), open_quick))
