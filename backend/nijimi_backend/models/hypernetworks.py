"""A hypernetwork's file enters; small networks leave, two for each width of what attention reads.

The form is that of A1111's web UI (its wiki, "Features": Hypernetworks): what an attention's keys
are made from becomes x + s k(x), what its values are made from x + s v(x). Files are .safetensors
that ``nijimi models convert`` made of the .pt files in which they were published: what no weight
shows, the activation, lies in their metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import ModelCorrupt
from .device import Device
from .headers import WeightsHeader, first_line, read_header
from .weight_files import read_weights

__all__ = ["Hypernetwork", "read_hypernetwork"]

_KEY = re.compile(r"(\d+)\.([01])\.linear(?:\.(\d+)|([12]))\.(weight|bias)")

_ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU, "leakyrelu": torch.nn.LeakyReLU, "elu": torch.nn.ELU,
    "swish": torch.nn.Hardswish, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid,
    "softsign": torch.nn.Softsign, "mish": torch.nn.Mish, "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU, "hardswish": torch.nn.Hardswish, "softplus": torch.nn.Softplus,
    "selu": torch.nn.SELU, "celu": torch.nn.CELU, "hardtanh": torch.nn.Hardtanh,
    "relu6": torch.nn.ReLU6, "hardsigmoid": torch.nn.Hardsigmoid, "tanhshrink": torch.nn.Tanhshrink,
    "softshrink": torch.nn.Softshrink, "logsigmoid": torch.nn.LogSigmoid,
    "hardshrink": torch.nn.Hardshrink,
}  # fmt: skip
"""By A1111's names; "swish" is Hardswish there, too."""


@dataclass(frozen=True, kw_only=True)
class Hypernetwork:
    """``parts``: by width, what is added to the inputs of keys and of values."""

    name: str
    parts: Mapping[int, tuple[torch.nn.Module, torch.nn.Module]]


def read_hypernetwork(path: Path, device: Device) -> Hypernetwork:
    """Raises ``ModelCorrupt`` where it is damaged or of a form that is not known."""
    header = read_header(path)
    try:
        weights = read_weights(header, {key: key for key in header.shapes}, device.dtype)
        found: dict[int, dict[int, dict[int, dict[str, torch.Tensor]]]] = {}
        for key, value in weights.items():
            if match := _KEY.fullmatch(key):
                # The oldest files count linear1 and linear2.
                place = int(match[3]) if match[3] is not None else int(match[4]) - 1
                layers = found.setdefault(int(match[1]), {}).setdefault(int(match[2]), {})
                layers.setdefault(place, {})[match[5]] = value
        parts = {
            width: (_network(pair[0], header), _network(pair[1], header))
            for width, pair in found.items()
        }
        for width, pair in parts.items():
            for network in pair:
                network(torch.zeros(1, 1, width, dtype=device.dtype))
                network.to(device.torch_device)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelCorrupt(
            f"The hypernetwork {path.name} cannot be read ({first_line(error)}).",
            "Convert its .pt file again with `nijimi models convert`.",
        ) from error
    return Hypernetwork(name=path.stem, parts=parts)


def _network(layers: Mapping[int, Mapping[str, torch.Tensor]], header: WeightsHeader) -> Any:
    """Linear, activation and norm in turn, as A1111 stacks them; what dropped out in training is
    not in the file."""
    activation = header.metadata.get("activation_func", "linear").lower()
    activates_last = header.metadata.get("activate_output", "").lower() == "true"
    make = _ACTIVATIONS.get(activation)
    if make is None and activation not in ("linear", "none", ""):
        raise ValueError(f"its activation {activation} is not known")
    modules: list[torch.nn.Module] = []
    places = sorted(layers)
    last = max(place for place in places if layers[place]["weight"].dim() == 2)
    for place in places:
        weight, bias = layers[place]["weight"], layers[place]["bias"]
        if weight.dim() == 1:
            module: Any = torch.nn.LayerNorm(weight.shape[0])
        else:
            module = torch.nn.Linear(weight.shape[1], weight.shape[0])
        module.weight = torch.nn.Parameter(weight, requires_grad=False)
        module.bias = torch.nn.Parameter(bias, requires_grad=False)
        modules.append(module)
        if weight.dim() == 2 and make is not None and (place != last or activates_last):
            modules.append(make())
    return cast("Any", torch.nn.Sequential(*modules)).eval()
