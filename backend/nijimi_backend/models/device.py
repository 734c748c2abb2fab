"""A wish ("auto", "cpu", "cuda") enters; the device and number type that suit it best leave."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from ..errors import BadInput, DeviceLost

__all__ = [
    "MAX_FROZEN_PARAMETERS",
    "SMALL_BYTES",
    "Device",
    "choose_device",
    "expect_out_of_memory",
    "is_device_lost",
    "is_out_of_memory",
]


MAX_FROZEN_PARAMETERS = 100_000_000
"""Of a network that is packed for a CPU: its weights are held twice then."""

SMALL_BYTES = 2 * MAX_FROZEN_PARAMETERS
"""Of a model's files: as many parameters in half precision."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where networks run and in which type. ``budget_bytes``: what they may take; None for all."""

    torch_device: torch.device
    dtype: torch.dtype
    title: str
    budget_bytes: int | None = None

    @property
    def is_cuda(self) -> bool:
        return self.torch_device.type == "cuda"

    def for_weights(self, size_bytes: int) -> Device:
        """Where a model of that size runs: on a CPU a small one in float32.

        It is packed, which gains more than bfloat16 does, and OpenVINO takes bfloat16 for products
        by itself: on two Zen 4 cores a step of nijimi-mini's UNet takes 39 ms in bfloat16, 30
        packed, 19 by OpenVINO and 13 so.
        """
        if self.is_cuda or self.dtype == torch.float32 or size_bytes > SMALL_BYTES:
            return self
        return replace(self, dtype=torch.float32, title=_cpu_title(torch.float32))


def choose_device(wish: str = "auto", budget_bytes: int | None = None) -> Device:
    """CUDA where torch sees one, else the CPU in the type that measures faster."""
    if wish not in ("auto", "cpu", "cuda"):
        raise BadInput(f"There is no device named {wish!r}.", "Choose auto, cpu or cuda.")
    if wish == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "No CUDA device is usable here.",
            "Choose --device cpu, or install an NVIDIA driver and torch's CUDA build.",
        )
    if wish != "cpu" and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if budget_bytes is not None:
            whole = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, budget_bytes / whole))
        return Device(
            torch_device=torch.device("cuda"), dtype=torch.float16, title=name,
            budget_bytes=budget_bytes,
        )  # fmt: skip
    dtype = _faster_on_cpu()
    return Device(
        torch_device=torch.device("cpu"), dtype=dtype, title=_cpu_title(dtype),
        budget_bytes=budget_bytes,
    )  # fmt: skip


def _cpu_title(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    return f"CPU, {torch.get_num_threads()} threads, {name}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is a failed allocation: on the CPU torch raises a plain RuntimeError for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in text or "not enough memory" in text
    )


def expect_out_of_memory(error: BaseException) -> None:
    """Nothing where memory ran out; else raises ``DeviceLost``, or the error itself."""
    if is_device_lost(error):
        raise DeviceLost(
            "The graphics card failed while it was rendering.",
            "The backend starts again; if this comes back, update the card's driver.",
        ) from error
    if not is_out_of_memory(error):
        raise error


def is_device_lost(error: BaseException) -> bool:
    """Whether the device failed in a way that this process cannot come back from.

    After most CUDA errors the context is gone for good; torch says so as ``AcceleratorError``, and
    versions before it by a text.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _faster_on_cpu() -> torch.dtype:
    """bfloat16 pays only where the processor computes in it (AMX, AVX512-BF16).

    Elsewhere it is emulated: 4 times slower than float32 on an Ice Lake Xeon. Where the
    instructions are there, a convolution of the UNet's kind is measured (about 20 ms), and
    bfloat16 must win clearly, because float32 is the more exact one.
    """
    has_amx: bool = torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    has_avx: bool = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    if not (has_amx or has_avx):
        return torch.float32
    seconds: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Conv2d(64, 64, 3, padding=1, dtype=dtype)
        x = torch.randn(1, 64, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            layer(x)
            best = float("inf")
            for _ in range(5):
                started = time.perf_counter()
                layer(x)
                best = min(best, time.perf_counter() - started)
        seconds[dtype] = best
    faster = seconds[torch.bfloat16] < 0.75 * seconds[torch.float32]
    return torch.bfloat16 if faster else torch.float32
