"""A work folder enters; data, checkpoints, logs and curves are found and kept there."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from nijimi_backend.session.memory import keep_freed_memory

__all__ = [
    "Log",
    "arguments",
    "device_of",
    "load_checkpoint",
    "mixed",
    "resume",
    "save_checkpoint",
    "save_parts",
]


def arguments(description: str, minutes: float) -> argparse.ArgumentParser:
    """The options that every step shares."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, default=Path(".work/training"))
    parser.add_argument("--minutes", type=float, default=minutes, help="stop after this long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def device_of(threads: int) -> torch.device:
    """CUDA where there is one, else the CPU, whose memory is kept from step to step."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed(device: torch.device) -> torch.autocast:
    """Products in bf16, weights and sums in fp32, where the machine multiplies bf16 by itself."""
    by_itself = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return torch.autocast(device.type, torch.bfloat16, enabled=by_itself)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside and rename, so that an interrupted save loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    beside.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None at the first start."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


class Part(Protocol):
    """What a checkpoint holds under a name: networks, optimizers, averages."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def resume(path: Path, **parts: Part) -> int:
    """Fill the parts from the last checkpoint; the step to go on from, 0 at the first start.

    What a reopened model does not hold, its optimizer, stays as it is.

    What is drawn at random goes on, too: it does not begin with what was drawn before.
    """
    saved = load_checkpoint(path)
    if saved is None:
        return 0
    for name, part in parts.items():
        if name in saved or saved["step"]:
            part.load_state_dict(saved[name])
    torch.manual_seed(torch.initial_seed() + saved["step"])
    return saved["step"]


def save_parts(path: Path, step: int, **parts: Part) -> None:
    """What ``resume`` reads."""
    states = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, {**states, "step": step})


class Log:
    """Progress of one step: a line now and then, JSON lines for the curve."""

    def __init__(self, work: Path, name: str, minutes: float) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._path = work / f"{name}.jsonl"
        self._name = name
        self._started = time.monotonic()
        self._end = self._started + 60 * minutes
        self._smooth: dict[str, float] = {}

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    @property
    def part(self) -> float:
        """How much of the time is over, 0 to 1."""
        return min(1.0, (time.monotonic() - self._started) / max(1e-9, self._end - self._started))

    def add(self, step: int, samples: int, every: int = 50, **values: float) -> None:
        """Note the losses of one step; print each ``every`` steps."""
        for key, value in values.items():
            self._smooth[key] = 0.97 * self._smooth.get(key, value) + 0.03 * value
        if step % every:
            return
        seconds = time.monotonic() - self._started
        row = {"step": step, "samples": samples, "seconds": round(seconds, 1), **self._smooth}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        losses = "  ".join(f"{key} {value:.4f}" for key, value in self._smooth.items())
        print(f"{self._name} step {step}  {seconds / 60:.1f} min  {losses}", flush=True)
