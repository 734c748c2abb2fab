"""A model's networks enter; adapters of every published kind, small and random, leave as files.

Each comes with the weights that it must make, merged by LyCORIS's own functions or, for what
LyCORIS does not read, by the paper's equation written out. (Not by LyCORIS's modules: of 4.1.3
``get_diff_weight`` of LoHa and LoKr multiplies by alpha / rank twice.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lycoris.functional import general, locon, loha, lokr
from safetensors.torch import save_file

from .real_layout import RealLayout, original_unet_names

__all__ = ["KINDS", "MadeAdapter", "write_adapter", "write_embedding"]

_RANK, _ALPHA = 4, 2.0

_LINEAR = ".attentions.0.transformer_blocks.0.attn1.to_q"
_CROSS = ".attentions.0.transformer_blocks.0.attn2.to_k"
_CONV = ".resnets.0.conv1"

KINDS = ("lora-kohya", "lora-kohya-original-names", "lora-peft", "lora-diffusers", "locon",
         "locon-tucker", "loha", "loha-tucker", "lokr", "lokr-factored", "dora",
         "full-difference")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MadeAdapter:
    """``merged``: by network ("unet", "te1", …) and parameter, what strength 1 must give.

    ``plain``: whether another strength scales the difference.
    """

    path: Path
    merged: dict[tuple[str, str], torch.Tensor]
    plain: bool = True


def write_adapter(path: Path, kind: str, model: RealLayout, seed: int = 1) -> MadeAdapter:
    """One file of ``kind`` for ``model``: an attention, a cross attention, a convolution, and the
    first text encoder."""
    torch.manual_seed(seed)
    level = "down_blocks.1"
    layers = [("unet", level + ending) for ending in (_LINEAR, _CROSS, _CONV)]
    layers.append(("te1", "encoder.layers.1.self_attn.q_proj"))
    modules = [_module(model, *layer) for layer in layers]
    weights: dict[str, torch.Tensor] = {}
    merged: dict[tuple[str, str], torch.Tensor] = {}
    metadata: dict[str, str] = {}
    make = _MAKERS[kind]
    for (network, name), module in zip(layers, modules, strict=True):
        parts, whole = make(module)
        stem = _stem(kind, model, network, name)
        weights.update({f"{stem}.{part}": value for part, value in parts.items()})
        merged[network, f"{name}.weight"] = whole.detach()
    if kind == "lora-peft":
        settings = {f"{part}.{key}": value for part in ("unet", "text_encoder")
                    for key, value in (("r", _RANK), ("lora_alpha", _ALPHA))}  # fmt: skip
        metadata = {"lora_adapter_metadata": json.dumps(settings)}
    save_file({key: value.contiguous() for key, value in weights.items()}, path, metadata=metadata)
    return MadeAdapter(path=path, merged=merged, plain=kind != "dora")


def write_embedding(path: Path, model: RealLayout, vectors: int = 3) -> tuple[torch.Tensor, ...]:
    """A textual inversion for ``model``; its matrices are given back."""
    torch.manual_seed(5)
    widths = [int(encoder.config.hidden_size) for encoder in model.encoders]
    made = tuple(torch.randn(vectors, width) * 0.1 for width in widths)
    names = ("emb_params",) if len(made) == 1 else ("clip_l", "clip_g")
    save_file(dict(zip(names, made, strict=True)), path)
    return made


def _module(model: RealLayout, network: str, name: str) -> Any:
    if network == "unet":
        return model.unet.get_submodule(name)
    encoder = model.encoders[0]
    return getattr(encoder, "text_model", encoder).get_submodule(name)


def _stem(kind: str, model: RealLayout, network: str, name: str) -> str:
    """How the layer is called in a file of that kind."""
    if kind in ("lora-peft", "lora-diffusers"):
        return f"unet.{name}" if network == "unet" else f"text_encoder.text_model.{name}"
    if network == "unet":
        if kind == "lora-kohya-original-names":
            name = original_unet_names(model.unet)[f"{name}.weight"].removesuffix(".weight")
        return "lora_unet_" + name.replace(".", "_")
    prefix = "lora_te1" if model.family == "sdxl" else "lora_te"
    return f"{prefix}_text_model_" + name.replace(".", "_")


Parts = tuple[dict[str, torch.Tensor], torch.Tensor]


def _factors(module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """down and up in the shapes that trainers save."""
    out, inside, *kernel = module.weight.shape
    down = torch.randn(_RANK, inside, *kernel) * 0.05
    up = torch.randn(out, _RANK, *(1 for _ in kernel)) * 0.05
    return down, up


def _lora(down_name: str, up_name: str, *, alpha: bool) -> Callable[[Any], Parts]:
    def make(module: Any) -> Parts:
        down, up = _factors(module)
        delta = (up.flatten(1) @ down.flatten(1)).reshape(module.weight.shape)
        parts = {down_name: down, up_name: up}
        if alpha:
            parts["alpha"] = torch.tensor(_ALPHA)
        # diffusers' old layout has no alpha: rank / rank.
        scale = _ALPHA / _RANK if alpha or down_name.startswith("lora_A") else 1.0
        return parts, module.weight + scale * delta

    return make


def _locon(module: Any, *, tucker: bool, dora: bool = False) -> Parts:
    down, up = _factors(module)
    parts = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(_ALPHA)}
    middle = None
    kernel = module.weight.shape[2:]
    if tucker and len(kernel) == 2 and kernel[0] > 1:
        down = torch.randn(_RANK, module.weight.shape[1], 1, 1) * 0.05
        middle = torch.randn(_RANK, _RANK, *kernel) * 0.3
        parts |= {"lora_down.weight": down, "lora_mid.weight": middle}
    diff_weight: Any = locon.diff_weight  # typed as taking tuples, takes tensors
    delta = diff_weight(down, up, middle, gamma=_ALPHA / _RANK, backend="torch")
    whole = module.weight + delta.reshape(module.weight.shape)
    if dora:
        magnitude = torch.rand(module.weight.shape[0], *(1 for _ in module.weight.shape[1:])) + 0.5
        parts["dora_scale"] = magnitude
        whole = general.weight_decompose(whole, magnitude, backend="torch")
    return parts, whole


def _loha(module: Any, *, tucker: bool) -> Parts:
    out, inside, *kernel = module.weight.shape
    parts: dict[str, torch.Tensor] = {"alpha": torch.tensor(_ALPHA)}
    is_deep = tucker and bool(kernel) and kernel[0] > 1
    for n in (1, 2):
        if is_deep:
            parts[f"hada_t{n}"] = torch.randn(_RANK, _RANK, *kernel) * 0.3
            parts[f"hada_w{n}_a"] = torch.randn(_RANK, out) * 0.3
            parts[f"hada_w{n}_b"] = torch.randn(_RANK, inside) * 0.3
        else:
            area = inside * (kernel[0] * kernel[1] if kernel else 1)
            parts[f"hada_w{n}_a"] = torch.randn(out, _RANK) * 0.3
            parts[f"hada_w{n}_b"] = torch.randn(_RANK, area) * 0.3
    delta = loha.diff_weight(
        parts["hada_w1_b"], parts["hada_w1_a"], parts["hada_w2_b"], parts["hada_w2_a"],
        parts.get("hada_t1"), parts.get("hada_t2"), gamma=_ALPHA / _RANK, backend="torch",
    )  # fmt: skip
    return parts, module.weight + delta.reshape(module.weight.shape)


def _lokr(module: Any, *, factored: bool) -> Parts:
    out, inside, *kernel = module.weight.shape
    (small_out, large_out), (small_in, large_in) = (
        general.factorization(out, 4), general.factorization(inside, 4),
    )  # fmt: skip
    parts = {"alpha": torch.tensor(_ALPHA), "lokr_w1": torch.randn(small_out, small_in) * 0.3}
    if factored:
        area = large_in * (kernel[0] * kernel[1] if kernel else 1)
        parts["lokr_w2_a"] = torch.randn(large_out, _RANK) * 0.3
        parts["lokr_w2_b"] = torch.randn(_RANK, area) * 0.3
        if kernel:
            parts["lokr_w2_b"] = parts["lokr_w2_b"].reshape(_RANK, large_in, *kernel)
    else:
        parts["lokr_w2"] = torch.randn(large_out, large_in, *kernel) * 0.3
    delta = lokr.diff_weight(
        parts["lokr_w1"], None, None, parts.get("lokr_w2"), parts.get("lokr_w2_a"),
        parts.get("lokr_w2_b"), None, gamma=_ALPHA, backend="torch",
    )  # fmt: skip
    return parts, module.weight + delta.reshape(module.weight.shape)


def _difference(module: Any) -> Parts:
    delta = torch.randn_like(module.weight) * 0.02
    return {"diff": delta}, module.weight + delta


_MAKERS: dict[str, Callable[[Any], Parts]] = {
    "lora-kohya": _lora("lora_down.weight", "lora_up.weight", alpha=True),
    "lora-kohya-original-names": _lora("lora_down.weight", "lora_up.weight", alpha=True),
    "lora-peft": _lora("lora_A.weight", "lora_B.weight", alpha=False),
    "lora-diffusers": _lora("lora.down.weight", "lora.up.weight", alpha=False),
    "locon": lambda module: _locon(module, tucker=False),
    "locon-tucker": lambda module: _locon(module, tucker=True),
    "loha": lambda module: _loha(module, tucker=False),
    "loha-tucker": lambda module: _loha(module, tucker=True),
    "lokr": lambda module: _lokr(module, factored=False),
    "lokr-factored": lambda module: _lokr(module, factored=True),
    "dora": lambda module: _locon(module, tucker=False, dora=True),
    "full-difference": _difference,
}
