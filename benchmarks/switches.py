"""A number enters; what so many changes of the model leave behind in memory leaves."""

from __future__ import annotations

import gc
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from tests.support.tiny_model import write_tiny_model

from .loading import write_full_size

__all__ = ["SwitchReport", "measure", "switch_table"]

_SETTLED = 10
"""After so many, libraries have made what they make once."""


@dataclass(frozen=True, kw_only=True)
class SwitchReport:
    """``rss_mib``: after each switch. ``tensors``: how many there were then."""

    switches: int
    rss_mib: list[float]
    tensors: list[int]

    @property
    def slope_mib(self) -> float:
        """A switch, by least squares over those after the first ten."""
        settled = self.rss_mib[_SETTLED:]
        return statistics.linear_regression(range(len(settled)), settled).slope


def measure(switches: int, *, full_size: bool = False) -> SwitchReport:
    """Load two models in turn, and render a small picture with each.

    ``full_size``: files of SD1.5's real shapes; else models that load in milliseconds.
    """
    process = psutil.Process()
    rss_mib: list[float] = []
    tensors: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if full_size:
            for each in ("one", "two"):
                write_full_size(folder / f"{each}.safetensors", "sd1")
        else:
            write_tiny_model(folder / "one")
            write_tiny_model(folder / "two", prediction_type="epsilon", full_vae=True)
        library = Library([folder])
        params = RenderParams(mode=RenderMode.TXT2IMG, num_inference_steps=2, prompt="a house")
        for n in range(switches):
            info = replace(library.find_model(("one", "two")[n % 2]), native_px=64)
            engine = Engine(load_model(info, choose_device("cpu")), library)
            engine.render(FrameRequest(params=params, extent=Extent(64, 64)))
            del engine
            gc.collect()
            rss_mib.append(round(process.memory_info().rss / 2**20, 1))
            tensors.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    return SwitchReport(switches=switches, rss_mib=rss_mib, tensors=tensors)


def switch_table(report: SwitchReport) -> str:
    rss, last = report.rss_mib, report.switches - 1
    shown = sorted({3, _SETTLED, last // 2, last})
    lines = ["switches   memory, MiB   tensors"]
    lines += [f"{n + 1:8} {rss[n]:13.1f} {report.tensors[n]:9}" for n in shown if n < len(rss)]
    lines.append(f"a switch, after the first {_SETTLED}: {report.slope_mib:+.3f} MiB")
    return "\n".join(lines)
