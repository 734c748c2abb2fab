"""A UNet and a path enter; a hypernetwork as A1111 saves it leaves, converted, with the networks of
its definition and a UNet that reads through them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from nijimi_backend.models.convert import convert_pickle

__all__ = ["Defined", "Pairs", "through", "write_hypernetwork"]

_STRUCTURE = (1, 2, 1)
_ACTIVATIONS: dict[str, Any] = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


class Defined(torch.nn.Module):
    """One of the two networks of a width, by A1111's definition."""

    def __init__(self, width: int, activation: str, *, norm: bool) -> None:
        super().__init__()
        parts: list[torch.nn.Module] = []
        for n in range(len(_STRUCTURE) - 1):
            parts.append(torch.nn.Linear(_STRUCTURE[n] * width, _STRUCTURE[n + 1] * width))
            if activation != "linear" and n + 2 < len(_STRUCTURE):
                parts.append(_ACTIVATIONS[activation]())
            if norm:
                parts.append(torch.nn.LayerNorm(_STRUCTURE[n + 1] * width))
        self.linear = torch.nn.Sequential(*parts)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else width**-0.5)

    def forward(self, read: torch.Tensor, scale: float) -> torch.Tensor:
        return read + self.linear(read) * scale


Pairs = dict[int, tuple[Defined, Defined]]
"""By the width of what attention reads, for keys and for values."""


class _Through(torch.nn.Module):
    """Keys, or values, of what a hypernetwork makes of their inputs."""

    def __init__(self, layer: Any, network: Defined, scale: float) -> None:
        super().__init__()
        self.layer, self.network, self.scale = layer, network, scale

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        return self.layer(self.network(read, self.scale))


def write_hypernetwork(
    path: Path, unet: Any, activation: str = "relu", *, norm: bool = False, old: bool = False
) -> Pairs:
    """``path``: where its .safetensors comes to lie. ``old``: the names of the first files."""
    torch.manual_seed(41 + len(path.stem))
    widths = {int(layer.in_features) for module in unet.modules() if hasattr(module, "to_k")
              for layer in (module.to_k, module.to_v)}  # fmt: skip
    pairs: Pairs = {
        width: (Defined(width, activation, norm=norm), Defined(width, activation, norm=norm))
        for width in sorted(widths)
    }
    saved: dict[Any, Any] = {
        width: tuple(_named(network, old=old) for network in pair) for width, pair in pairs.items()
    }
    saved |= {
        "step": 9, "name": path.stem, "layer_structure": list(_STRUCTURE),
        "activation_func": activation, "is_layer_norm": norm, "activate_output": False,
        "sd_checkpoint": None,
    }  # fmt: skip
    pickled = path.with_suffix(".pt")
    torch.save(saved, pickled)
    convert_pickle(pickled, path)
    pickled.unlink()
    return pairs


def through(unet: Any, *used: tuple[Pairs, float]) -> Any:
    """A copy of the UNet that reads through these; the first of them is the first that reads."""
    changed = copy.deepcopy(unet)
    for module in changed.modules():
        if not hasattr(module, "to_k"):
            continue
        for which, name in enumerate(("to_k", "to_v")):
            layer = getattr(module, name)
            width = int(layer.in_features)
            for pairs, scale in reversed(used):
                layer = _Through(layer, pairs[width][which], scale)
            setattr(module, name, layer)
    return changed


def _named(network: Defined, *, old: bool) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    if old:
        state = {key.replace("linear.0.", "linear1.").replace("linear.1.", "linear2."): value
                 for key, value in state.items()}  # fmt: skip
    return {key: value.clone() for key, value in state.items()}
