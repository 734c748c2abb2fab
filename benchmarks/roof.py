"""A device enters; how quickly it multiplies matrices and convolves leaves, as the roof of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from nijimi_backend.models.device import Device

__all__ = ["Roof", "measure_roof"]


@dataclass(frozen=True, kw_only=True)
class Roof:
    """Operations a second (a multiplication and an addition are two), each at its best size."""

    matmul: float
    convolution: float

    def or_better(self, other: Roof) -> Roof:
        """The best of both: a machine that others share has bad seconds."""
        return Roof(
            matmul=max(self.matmul, other.matmul),
            convolution=max(self.convolution, other.convolution),
        )

    def seconds(self, work: Mapping[Any, int], times: int) -> float:
        """What torch's counter found, done ``times``, at the roof."""
        convolved = sum(n for operation, n in work.items() if "conv" in str(operation))
        other = sum(work.values()) - convolved
        return times * (convolved / self.convolution + other / self.matmul)


def measure_roof(device: Device, seconds: float = 2.0) -> Roof:
    """Sizes of SD's own: square matrices, and its two widest convolutions. ``seconds``: for each
    of the four."""
    options: dict[str, Any] = {"device": device.torch_device, "dtype": device.dtype}
    best_matmul = 0.0
    for side in (1024, 2048):
        one, other = (torch.randn((side, side), **options) for _ in range(2))
        best_matmul = max(
            best_matmul, _rate(lambda a=one, b=other: a @ b, 2 * side**3, device, seconds)
        )
    best_convolution = 0.0
    for channels, side in ((320, 64), (640, 32)):
        weights = torch.randn((channels, channels, 3, 3), **options)
        pixels = torch.randn((1, channels, side, side), **options)
        weights, pixels = (each.to(memory_format=torch.channels_last) for each in (weights, pixels))
        best_convolution = max(
            best_convolution,
            _rate(
                lambda x=pixels, w=weights: torch.nn.functional.conv2d(x, w, padding=1),
                2 * 9 * channels**2 * side**2,
                device,
                seconds,
            ),
        )
    return Roof(matmul=best_matmul, convolution=best_convolution)


def _rate(
    call: Callable[[], torch.Tensor], operations: int, device: Device, seconds: float
) -> float:
    """The best of many calls, in operations a second."""
    best = float("inf")
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < end:
            started = time.perf_counter()
            call()
            if device.is_cuda:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return operations / best
