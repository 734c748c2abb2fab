"""Clients that all paint at once enter; pictures a second, and how alike they are served, leave.

Two ways of one engine: each picture alone, in turns, and all of them in company, a row each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.quickened import QuickPack
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams

from .engine_shapes import shaped

__all__ = ["measure_together", "together_table"]

_WARM_S = 10.0
"""Kernels are chosen, networks packed or recorded for each number of rows."""


def measure_together(
    model: str, clients: int, steps: int, seconds: float, warm_s: float = _WARM_S
) -> dict[str, Any]:
    """Pictures a second of all clients, each one's share, and what a picture took to come."""
    device = choose_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        bundle = shaped(model, device, Path(folder))
        engine = Engine(bundle, Library([]), QuickPack(), in_company=True)
        painters = _Painters(engine, clients, steps)
        found: dict[str, Any] = {}
        for name, way in (("alone", painters.in_turns), ("in company", painters.in_company)):
            way(warm_s)
            found[name] = way(seconds)
    return {
        "model": model,
        "device": device.title,
        "clients": clients,
        "steps": steps,
        "ways": found,
        "largest_gap": painters.largest_gap(),
    }


class _Painters:
    """Clients whose canvas has changed whenever their picture comes."""

    def __init__(self, engine: Engine, count: int, steps: int) -> None:
        self._engine, self._count, self._steps = engine, count, steps
        self._versions = 0

    def in_turns(self, seconds: float) -> dict[str, float]:
        counts, took = [0] * self._count, list[float]()
        asked = [time.perf_counter()] * self._count
        end = asked[0] + seconds
        while time.perf_counter() < end:
            for n in range(self._count):
                self._engine.render(self._request(n))
                counts[n] += 1
                took.append(time.perf_counter() - asked[n])
                asked[n] = time.perf_counter()
        return _summary(counts, took, seconds)

    def in_company(self, seconds: float) -> dict[str, float]:
        counts, took = [0] * self._count, list[float]()
        asked: dict[Hashable, float] = {}
        company = self._engine.company()
        end = time.perf_counter() + seconds

        def begin(n: int) -> None:
            asked[n] = time.perf_counter()
            company.add(n, self._request(n), lambda: False, lambda _done, _total: None)

        for n in range(self._count):
            begin(n)
        while len(company):
            for who, picture in company.advance():
                assert isinstance(picture, Picture), picture
                assert isinstance(who, int)
                now = time.perf_counter()
                if now < end:
                    counts[who] += 1
                    took.append(now - asked[who])
                    begin(who)
        return _summary(counts, took, seconds)

    def largest_gap(self) -> int:
        """Of all channels' values in pictures made alone and in company."""
        requests = [self._request(n) for n in range(self._count)]
        alone = [self._engine.render(request).pixels.astype(int) for request in requests]
        company = self._engine.company()
        for n, request in enumerate(requests):
            company.add(n, request, lambda: False, lambda _done, _total: None)
        gaps: list[int] = []
        while len(company):
            for who, picture in company.advance():
                assert isinstance(picture, Picture), picture
                assert isinstance(who, int)
                gaps.append(int(np.abs(picture.pixels.astype(int) - alone[who]).max()))
        return max(gaps)

    def _request(self, n: int) -> FrameRequest:
        self._versions += 1
        side = self._engine.model.native_px
        canvas = np.full((side, side, 4), 255, dtype=np.uint8)
        canvas[side // 2 :, :, n % 3] = 40 + 20 * n
        left = 8 * (self._versions % (side // 8))
        canvas[side // 4 : side // 4 + 40, left : left + 40, :3] = (40, 40, 200)
        params = RenderParams(
            prompt=f"a red house, client {n}", strength=0.5, seed=n,
            num_inference_steps=self._steps, sampler="lcm",
        )  # fmt: skip
        return FrameRequest(
            params=params, extent=Extent(side, side), canvas=canvas, canvas_version=self._versions
        )


def _summary(counts: list[int], took: list[float], seconds: float) -> dict[str, float]:
    mean = sum(counts) / len(counts)
    return {
        "pictures_per_s": sum(counts) / seconds,
        "own_picture_ms": 1000 * statistics.median(took),
        "unfairness": max(abs(count - mean) for count in counts) / mean,
    }


def together_table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['clients']} clients, {report['model']}, {report['steps']} steps, "
        f"{report['device']}",
        "              pictures a second   own picture, ms   farthest from the mean",
    ]
    for name, figures in report["ways"].items():
        lines.append(
            f"{name:12} {figures['pictures_per_s']:18.1f} {figures['own_picture_ms']:17.0f}"
            f" {100 * figures['unfairness']:22.1f} %"
        )
    lines.append(f"largest difference of a picture's values: {report['largest_gap']} of 255")
    return "\n".join(lines)
