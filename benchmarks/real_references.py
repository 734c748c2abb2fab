"""A checkpoint's networks and a path enter; an IP-Adapter and an image encoder in the layouts of
the released files leave, small and random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from .real_layout import RealLayout

__all__ = ["ENCODER_PX", "write_image_encoder", "write_ip_adapter"]

ENCODER_PX = 28
_WIDTH, _PROJECTION = 64, 48


def write_image_encoder(path: Path) -> Any:
    """As ComfyUI keeps them in ``clip_vision``: one file, transformers' names, fp16."""
    torch.manual_seed(31)
    config = CLIPVisionConfig(
        hidden_size=_WIDTH, intermediate_size=96, num_hidden_layers=3, num_attention_heads=16,
        projection_dim=_PROJECTION, image_size=ENCODER_PX, patch_size=7, hidden_act="gelu",
    )  # fmt: skip
    network: Any = CLIPVisionModelWithProjection(config)
    made = network.half().float().eval().requires_grad_(False)
    save_file({key: v.half().contiguous() for key, v in made.state_dict().items()}, path)
    return made


def write_ip_adapter(path: Path, model: RealLayout, form: str) -> dict[str, dict[str, Any]]:
    """``form``: "plain", "plus" (reads patches through a resampler) or "full" (as for faces).

    Its tensors by part, rounded as the file's, are given back: diffusers' pipelines take them.
    """
    torch.manual_seed(32)
    width = int(model.unet.config["cross_attention_dim"])
    parts: dict[str, dict[str, torch.Tensor]] = {
        "image_proj": _projection(form, width),
        "ip_adapter": {},
    }
    number = 1
    # diffusers numbers by the order of its processors, self and cross attention in turn.
    for name in model.unet.attn_processors:
        if "attn1" in name:
            continue
        module = model.unet.get_submodule(name.removesuffix(".processor"))
        inner = module.to_k.weight.shape[0]
        for which in ("to_k_ip", "to_v_ip"):
            parts["ip_adapter"][f"{number}.{which}.weight"] = torch.randn(inner, width) / width**0.5
        number += 2
    rounded = {part: {key: value.half().float() for key, value in inside.items()}
               for part, inside in parts.items()}  # fmt: skip
    flat = {f"{part}.{key}": value.half().contiguous()
            for part, inside in rounded.items() for key, value in inside.items()}  # fmt: skip
    save_file(flat, path)
    return rounded


def _projection(form: str, width: int) -> dict[str, torch.Tensor]:
    def linear(out: int, inside: int) -> torch.Tensor:
        return torch.randn(out, inside) / inside**0.5

    def norm(name: str, size: int) -> dict[str, torch.Tensor]:
        weight, bias = 1.0 + 0.1 * torch.randn(size), 0.1 * torch.randn(size)
        return {f"{name}.weight": weight, f"{name}.bias": bias}

    if form == "plain":
        weights = {
            "proj.weight": linear(4 * width, _PROJECTION),
            "proj.bias": torch.zeros(4 * width),
        }
        return weights | norm("norm", width)
    if form == "full":
        return {
            "proj.0.weight": linear(_WIDTH, _WIDTH), "proj.0.bias": torch.zeros(_WIDTH),
            "proj.2.weight": linear(width, _WIDTH), "proj.2.bias": torch.zeros(width),
        } | norm("proj.3", width)  # fmt: skip
    inner = 64
    weights = {
        "latents": torch.randn(1, 16, inner) / 8.0,
        "proj_in.weight": linear(inner, _WIDTH), "proj_in.bias": torch.zeros(inner),
        "proj_out.weight": linear(width, inner), "proj_out.bias": torch.zeros(width),
    } | norm("norm_out", width)  # fmt: skip
    for n in range(4):
        start = f"layers.{n}."
        weights |= {
            start + "0.to_q.weight": linear(inner, inner),
            start + "0.to_kv.weight": linear(2 * inner, inner),
            start + "0.to_out.weight": linear(inner, inner),
            start + "1.1.weight": linear(4 * inner, inner),
            start + "1.3.weight": linear(inner, 4 * inner),
        }
        for name in ("0.norm1", "0.norm2", "1.0"):
            weights |= norm(start + name, inner)
    return weights
