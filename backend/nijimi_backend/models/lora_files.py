"""An adapter's file enters; the changes that it makes to each layer of a model leave.

LoRA (Hu et al., arXiv 2106.09685) and LoCon, LoHa and LoKr (LyCORIS, Yeh et al., arXiv
2309.14859), DoRA (Liu et al., arXiv 2402.09353) and full differences, under the names that kohya's
scripts, LyCORIS, diffusers and peft give them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import ModelCorrupt
from .bundle import ModelBundle
from .headers import WeightsHeader, read_header
from .weight_files import read_weights

__all__ = [
    "LayerChange",
    "Lora",
    "adapted_networks",
    "changed_weight",
    "layer_names",
    "read_lora",
]

_PARTS = re.compile(
    r"\.(?:(?P<kohya>lora_(?:up|down|mid)\.weight|alpha|dora_scale|hada_(?:w[12]_[ab]|t[12])"
    r"|lokr_(?:w[12](?:_[ab])?|t2)|diff|diff_b|w_norm|b_norm)"
    r"|(?P<peft>lora_(?:A|B|magnitude_vector)(?:\.default)?(?:\.weight)?)"
    r"|(?P<old>lora(?:_linear_layer)?\.(?:up|down)\.weight))$"
)
_SAME = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector":
         "dora_scale", "lora.up": "lora_up.weight", "lora.down": "lora_down.weight",
         "lora_linear_layer.up": "lora_up.weight",
         "lora_linear_layer.down": "lora_down.weight"}  # fmt: skip
_TARGETS = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What one adapter does to one parameter. ``parts`` by kohya's and LyCORIS's names."""

    parts: Mapping[str, torch.Tensor]
    scale: float
    """alpha / rank, 1 where neither is said."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """``changes``: by network ("unet", "te", "te1", "te2") and name of its parameter.

    ``skipped``: how many of the file's layers the model does not have.
    """

    name: str
    changes: Mapping[tuple[str, str], LayerChange]
    skipped: int


def read_lora(path: Path, bundle: ModelBundle) -> Lora:
    """Raises ``ModelCorrupt`` where the file is damaged or made for another family."""
    header = read_header(path)
    names = layer_names(bundle)
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in read_weights(header, {key: key for key in header.shapes}).items():
        if match := _PARTS.search(key):
            part = match.group(0)[1:]
            if match.group("kohya") is None:
                part = _SAME[part.removesuffix(".weight").removesuffix(".default")]
            grouped.setdefault(key[: match.start()], {})[part] = tensor
    changes: dict[tuple[str, str], LayerChange] = {}
    skipped = 0
    said = _said_scales(header)
    for stem, parts in grouped.items():
        place = names.get(_plain(stem))
        if place is None:
            skipped += 1
            continue
        network, module = place
        for parameter, own in _by_parameter(parts):
            change = LayerChange(parts=own, scale=_scale(own, said.get(network, 1.0)))
            changes[network, f"{module}.{parameter}"] = change
    if not changes:
        raise ModelCorrupt(
            f"{path.name} changes nothing in the model {bundle.info.title}: it is for another "
            "family.",
            "Choose one that was made for this model's family.",
        )
    _check_shapes(path, changes, bundle)
    return Lora(name=path.stem, changes=changes, skipped=skipped)


def changed_weight(weight: torch.Tensor, change: LayerChange, strength: float) -> torch.Tensor:
    """``weight`` (float32) with the change laid over it, as a new tensor of its shape.

    Raises ``KeyError`` where parts are missing, ``RuntimeError`` where they do not fit.
    """
    parts = {key: value.to(weight.device, torch.float32) for key, value in change.parts.items()}
    delta = _delta(parts).reshape(weight.shape) * change.scale
    magnitude = parts.get("dora_scale")
    if magnitude is None:
        return weight + delta * strength
    # DoRA, equation 5: direction and length apart. The trainers normalise over all but the input
    # (LyCORIS before 3) or all but the output; the magnitude's own shape says which.
    whole = weight + delta
    flat = magnitude.reshape(-1)
    over_outputs = magnitude.shape[0] == whole.shape[0] and flat.numel() == whole.shape[0]
    axes = tuple(n for n in range(whole.dim()) if n != (0 if over_outputs else 1))
    lengths = whole.pow(2).sum(dim=axes, keepdim=True).sqrt()
    lengths = lengths + torch.finfo(lengths.dtype).eps
    whole = whole * (flat.reshape(lengths.shape) / lengths)
    return weight + strength * (whole - weight)


def _delta(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The change that the factors stand for, not scaled, in any shape of its size."""
    for whole in ("diff", "diff_b", "w_norm", "b_norm"):
        if whole in parts:
            return parts[whole]
    if "lora_up.weight" in parts:
        up, down = parts["lora_up.weight"], parts["lora_down.weight"]
        middle = parts.get("lora_mid.weight")
        if middle is not None:
            return _tucker(middle, up.flatten(1).T, down.flatten(1))
        return up.flatten(1) @ down.flatten(1)
    if "hada_w1_a" in parts:
        halves = [_product(parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"], parts.get(f"hada_t{n}"))
                  for n in (1, 2)]  # fmt: skip
        return halves[0] * halves[1]
    left, right = parts.get("lokr_w1"), parts.get("lokr_w2")
    if left is None:
        left = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if right is None:
        right = _product(parts["lokr_w2_a"], parts["lokr_w2_b"], parts.get("lokr_t2"))
    while left.dim() < right.dim():
        left = left.unsqueeze(-1)
    return torch.kron(left.contiguous(), right.contiguous())


def _product(a: torch.Tensor, b: torch.Tensor, core: torch.Tensor | None) -> torch.Tensor:
    if core is not None:
        return _tucker(core, a, b)
    return (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])


def _tucker(core: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Rank x rank x k x k, rank x out and rank x in become out x in x k x k."""
    return torch.einsum("ij...,ip,jr->pr...", core, a, b)


def _scale(parts: Mapping[str, torch.Tensor], said: float) -> float:
    rank = 0
    for key in ("lora_down.weight", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if key in parts:
            rank = parts[key].shape[0]
            break
    if rank == 0 or "alpha" not in parts:
        return said if rank else 1.0
    return float(parts["alpha"]) / rank


def _said_scales(header: WeightsHeader) -> dict[str, float]:
    """alpha / rank by network, which peft's configuration says instead of a tensor."""
    try:
        value: object = json.loads(header.metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    said = cast("dict[str, Any]", value)
    result: dict[str, float] = {}
    for prefix, network in _TARGETS.items():
        alpha, rank = said.get(f"{prefix}.lora_alpha"), said.get(f"{prefix}.r")
        if isinstance(alpha, (int, float)) and isinstance(rank, int) and rank > 0:
            result[network] = alpha / rank
            result["te"] = result.get("te1", 1.0)
    return result


def _by_parameter(
    parts: dict[str, torch.Tensor],
) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """A layer's parts, those for its bias apart."""
    bias = {key: parts.pop(key) for key in ("diff_b", "b_norm") if key in parts}
    made: list[tuple[str, dict[str, torch.Tensor]]] = []
    if parts.keys() - {"alpha"}:
        made.append(("weight", parts))
    if bias:
        made.append(("bias", bias))
    return made


def _check_shapes(
    path: Path, changes: Mapping[tuple[str, str], LayerChange], bundle: ModelBundle
) -> None:
    """Refuse an adapter whose factors do not fit, before any of it is used."""
    networks = adapted_networks(bundle)
    own = {name: dict(network.named_parameters()) for name, network in networks.items()}
    for (network, name), change in changes.items():
        target = own[network].get(name)
        parts = change.parts
        if target is None:
            continue
        try:
            # Multiplied for its shape only: meta tensors hold no numbers.
            shape = _delta({key: value.to("meta") for key, value in parts.items()}).numel()
        except (KeyError, RuntimeError) as error:
            raise ModelCorrupt(
                f"{path.name} is damaged: its part for {name} does not fit together ({error}).",
                "Copy or download it again, whole.",
            ) from error
        if shape != target.numel():
            raise ModelCorrupt(
                f"{path.name} does not fit the model {bundle.info.title}: it was made for another "
                "family.",
                "Choose one that was made for this model's family.",
            )


def adapted_networks(bundle: ModelBundle) -> dict[str, torch.nn.Module]:
    """The networks that adapters change, by the names used here."""
    return {"unet": bundle.unet, **{tower.name: tower.encoder for tower in bundle.towers}}


def layer_names(bundle: ModelBundle) -> dict[str, tuple[str, str]]:
    """Every name that a file may give a layer (dots as underscores), to network and module."""
    names: dict[str, tuple[str, str]] = {}
    config: Any = bundle.unet.config
    per_level = config.get("layers_per_block")
    for path, module in bundle.unet.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        for prefix in ("lora_unet_", "lycoris_", "unet_", "", "diffusion_model_"):
            names[prefix + path.replace(".", "_")] = ("unet", path)
        for original in _original_names(path, per_level) if isinstance(per_level, int) else ():
            for prefix in ("lora_unet_", "unet_", "diffusion_model_", "model_diffusion_model_"):
                names.setdefault(prefix + original.replace(".", "_"), ("unet", path))
    # No adapter was ever trained on the third.
    for number, tower in enumerate(bundle.towers[:2]):
        whole = {id(m): path for path, m in tower.encoder.named_modules()}
        text = "text_encoder" if number == 0 else "text_encoder_2"
        kohya = ("lora_te_", "lora_te1_") if number == 0 else ("lora_te2_",)
        for path, module in tower.body.named_modules():
            if not any(True for _ in module.parameters(recurse=False)):
                continue
            plain = path.replace(".", "_")
            place = (tower.name, whole[id(module)])
            for prefix in (*(f"{k}text_model_" for k in kohya), f"{text}_text_model_", f"{text}_"):
                names[prefix + plain] = place
        if hasattr(tower.encoder, "text_projection"):
            for prefix in (*kohya, f"{text}_"):
                names[f"{prefix}text_projection"] = (tower.name, "text_projection")
    return names


def _plain(stem: str) -> str:
    """A layer's name as files write it, made one: without wrappers, dots as underscores."""
    for wrapper in ("base_model.model.", "transformer."):
        stem = stem.removeprefix(wrapper)
    # Diffusers' first adapters hung on the attention's processor instead of its layers.
    stem = re.sub(r"\.processor\.(to_[qkv]|to_out)_lora$", r".\1", stem)
    stem = re.sub(r"\.to_out$", ".to_out.0", stem)
    return stem.replace(".", "_")


_INNER = {"conv1": "in_layers.2", "conv2": "out_layers.3", "norm1": "in_layers.0",
          "norm2": "out_layers.0", "time_emb_proj": "emb_layers.1",
          "conv_shortcut": "skip_connection"}  # fmt: skip
_OUTER = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "conv_norm_out": "out.0",
          "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
          "add_embedding.linear_1": "label_emb.0.0",
          "add_embedding.linear_2": "label_emb.0.2"}  # fmt: skip


def _original_names(path: str, per_level: int) -> tuple[str, ...]:
    """A module's names in the original (LDM) layout, as adapters for SDXL use it; () for none."""
    if path in _OUTER:
        return (_OUTER[path],)
    match = re.match(r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.?(.*)$", path)
    if not match:
        return ()
    side, level_text, kind, item_text, rest = match.groups()
    level, item = int(level_text or 0), int(item_text)
    if kind == "resnets":
        rest = _INNER.get(rest, rest)
    sub = 0 if kind == "resnets" else 1
    if side == "mid":
        return (f"middle_block.{1 if sub else 2 * item}.{rest}".rstrip("."),)
    if kind == "downsamplers":
        return (f"input_blocks.{(level + 1) * (per_level + 1)}.0.op",)
    if kind == "upsamplers":
        # It stands after the attention, where its level has one.
        last = level * (per_level + 1) + per_level
        return (f"output_blocks.{last}.2.conv", f"output_blocks.{last}.1.conv")
    if side == "down":
        return (f"input_blocks.{1 + level * (per_level + 1) + item}.{sub}.{rest}".rstrip("."),)
    return (f"output_blocks.{level * (per_level + 1) + item}.{sub}.{rest}".rstrip("."),)
