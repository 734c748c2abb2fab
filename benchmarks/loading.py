"""A family enters; what loading a file of its real size costs leaves: time, memory, and floors.

The file has the released shapes and random numbers. Loading runs in a process of its own, so that
its peak is its own; the floor is reading the file and converting it to the same type.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from nijimi_backend.models.device import Device, choose_device
from nijimi_backend.models.headers import read_header
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .real_layout import save_networks

__all__ = ["loading_table", "measure_family", "write_full_size"]


def measure_family(family: str, dtype: str = "") -> dict[str, Any]:
    """One row: bytes, seconds and peaks. ``dtype``: such as "bfloat16", else what suits the CPU."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"{family}.safetensors"
        write_full_size(path, family)
        # Both find the file in the system's cache: what is measured is ours, not the disk's.
        rows = {what: _alone(what, path, dtype) for what in ("floor", "load")}
        size = path.stat().st_size
    return {"family": family, "file_bytes": size, **rows}


def _alone(what: str, path: Path, dtype: str) -> dict[str, Any]:
    code = f"from benchmarks.loading import run_{what}; run_{what}({str(path)!r}, {dtype!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    return json.loads(done.stdout.strip().splitlines()[-1])


def _peak_bytes() -> int:
    """The most memory of its own that this process has had (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss


def _device(dtype: str) -> Device:
    device = choose_device("cpu")
    if not dtype:
        return device
    return replace(device, dtype=getattr(torch, dtype), title=f"{device.title}, told {dtype}")


def run_load(name: str, dtype: str) -> None:
    """In a process of its own: load as the backend does."""
    path = Path(name)
    device = _device(dtype)
    library = Library([path.parent])
    library.models()
    base = psutil.Process().memory_info().rss
    started = time.perf_counter()
    bundle = load_model(library.find_model(path.stem), device)
    seconds = time.perf_counter() - started
    own = sum(
        p.numel() * p.element_size() for n in bundle.networks.values() for p in n.parameters()
    )
    print(json.dumps({
        "seconds": seconds, "dtype": str(device.dtype), "weights_bytes": own,
        "peak_bytes": _peak_bytes() - base, "device": device.title,
    }))  # fmt: skip


def run_floor(name: str, dtype: str) -> None:
    """In a process of its own: read the file and convert every tensor, nothing else."""
    path = Path(name)
    wanted = _device(dtype).dtype
    read_header(path)
    started = time.perf_counter()
    kept = [value.to(wanted, copy=True) for value in load_file(path).values()]
    print(json.dumps({"seconds": time.perf_counter() - started, "tensors": len(kept)}))


def write_full_size(path: Path, family: str) -> None:
    torch.set_default_dtype(torch.float16)
    try:
        networks = _real(family)
    finally:
        torch.set_default_dtype(torch.float32)
    save_networks(path, family, *networks)


def _real(family: str) -> tuple[Any, Any, tuple[Any, ...]]:
    """Networks of the released sizes (SD 1.5, SDXL 1.0)."""

    def text(width: int, layers: int, act: str) -> Any:
        return CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=4 * width,
            num_hidden_layers=layers, num_attention_heads=width // 64, hidden_act=act,
            projection_dim=width,
        )  # fmt: skip

    vae: Any = {
        "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }  # fmt: skip
    first = CLIPTextModel(text(768, 12, "quick_gelu"))
    if family == "sd1":
        unet: Any = UNet2DConditionModel(cross_attention_dim=768)
        return unet, AutoencoderKL(**vae), (first,)
    options: Any = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048, "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }  # fmt: skip
    second = CLIPTextModelWithProjection(text(1280, 32, "gelu"))
    return UNet2DConditionModel(**options), AutoencoderKL(**vae), (first, second)


def loading_table(rows: list[dict[str, Any]]) -> str:
    """One line a family."""
    lines = [rows[0]["load"]["device"]]
    for row in rows:
        load, floor = row["load"], row["floor"]
        lines.append(
            f"{row['family']:5} file {row['file_bytes'] / 1e9:.2f} GB   "
            f"load {load['seconds']:.1f} s, {load['seconds'] / floor['seconds']:.2f} of read and "
            f"convert   peak {load['peak_bytes'] / 1e9:.2f} GB, "
            f"{load['peak_bytes'] / load['weights_bytes']:.2f} of its weights"
        )
    return "\n".join(lines)
