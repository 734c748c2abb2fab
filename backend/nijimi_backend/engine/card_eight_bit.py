"""A UNet on a graphics card enters; the same UNet with rows multiplied in eight bits leaves.

Products of rows are a third of a UNet's work. Cards of the Ada and Hopper generations multiply
floats of eight bits (e4m3: Micikevicius et al., arXiv 2209.05433) twice as fast as halves, those
since Turing whole numbers of eight bits. What a layer reads is scaled at each call: floats by one
scale, as they have exponents of their own; whole numbers by one scale a row, as LLM.int8() does
(Dettmers et al., arXiv 2208.07339, equation 3). Convolutions stay as they are: torch has none of
eight bits for cards.

The weights themselves stay beside their rounded copies, so that adapters can be laid on them; then
the copies are written anew, in place, and recorded work goes on. Written without a card at hand:
both products are tested on the CPU, where torch has them, too.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch.nn.functional import linear

from .packed import computes_plainly

__all__ = ["ByteKind", "CardEightBits", "byte_kind"]

_FLOATS = torch.float8_e4m3fn
_LARGEST_FLOAT = 448.0
_LARGEST_WHOLE = 127.0

_LEAST_ROWS = 32
"""cuBLAS refuses 16 rows of whole numbers; so few gain nothing anyway."""

_LEAST_WIDTH = 64
_MULTIPLE = 16
"""Of a product's sides, for floats of eight bits; 8 for whole numbers."""


class ByteKind(Enum):
    FLOATS = "fp8"
    WHOLE = "int8"


def byte_kind(device: torch.device) -> ByteKind | None:
    """What the card multiplies faster than halves; None where nothing."""
    if device.type != "cuda":
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 9):
        return ByteKind.FLOATS
    return ByteKind.WHOLE if capability >= (7, 5) else None


class CardEightBits:
    """One network's rounded weights; ``undo`` takes them off without a trace."""

    def __init__(self, network: torch.nn.Module, kind: ByteKind) -> None:
        rounded = _Floats if kind is ByteKind.FLOATS else _Whole
        self._layers: dict[torch.nn.Linear, _Floats | _Whole] = {}
        for layer in network.modules():
            if isinstance(layer, torch.nn.Linear) and _gains(layer):
                made = rounded(layer)
                layer.__dict__["forward"] = made
                self._layers[layer] = made

    def __len__(self) -> int:
        return len(self._layers)

    def refresh(self) -> None:
        """The weights are others now."""
        for made in self._layers.values():
            made.refresh()

    def undo(self) -> None:
        """The layers are as they were."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self._layers.clear()


def _gains(layer: torch.nn.Linear) -> bool:
    sides = (layer.in_features, layer.out_features)
    is_plain = computes_plainly(layer, torch.nn.Linear)
    return is_plain and min(sides) >= _LEAST_WIDTH and not any(n % _MULTIPLE for n in sides)


def _by_rows(
    layer: torch.nn.Linear, x: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """``product`` of what the layer reads, as rows; few of them are multiplied as they were."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) < _LEAST_ROWS:
        return linear(x, layer.weight, layer.bias)
    return product(rows).reshape(*x.shape[:-1], layer.out_features)


class _Floats:
    """A layer by floats of eight bits."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer = layer
        self._weight = torch.empty_like(layer.weight.data, dtype=_FLOATS)
        self._scale = torch.empty((), dtype=torch.float32, device=layer.weight.device)
        self.refresh()

    def refresh(self) -> None:
        weight = self._layer.weight.data
        self._scale.copy_(_scale_of(weight.abs().amax(), _LARGEST_FLOAT))
        self._weight.copy_((weight / self._scale).to(_FLOATS))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _by_rows(self._layer, x, self._product)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        scale = _scale_of(rows.abs().amax(), _LARGEST_FLOAT)
        # Nothing lies beyond the largest float but what rounding adds.
        floats = (rows / scale).clamp(-_LARGEST_FLOAT, _LARGEST_FLOAT).to(_FLOATS)
        multiply: Any = torch.ops.aten._scaled_mm
        return multiply(
            floats, self._weight.t(), scale_a=scale, scale_b=self._scale, bias=self._layer.bias,
            out_dtype=rows.dtype, use_fast_accum=True,
        )  # fmt: skip


class _Whole:
    """A layer by whole numbers of eight bits; weights have a scale for each output."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer = layer
        self._weight = torch.empty_like(layer.weight.data, dtype=torch.int8)
        device = layer.weight.device
        self._scales = torch.empty(layer.out_features, dtype=torch.float32, device=device)
        self.refresh()

    def refresh(self) -> None:
        weight = self._layer.weight.data
        self._scales.copy_(_scale_of(weight.abs().amax(1), _LARGEST_WHOLE))
        self._weight.copy_((weight / self._scales[:, None]).round().to(torch.int8))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _by_rows(self._layer, x, self._product)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        scales = _scale_of(rows.abs().amax(1, keepdim=True), _LARGEST_WHOLE)
        whole = (rows / scales).round().to(torch.int8)
        multiply: Any = torch.ops.aten._int_mm
        made = multiply(whole, self._weight.t()) * scales * self._scales
        bias: Any = self._layer.bias
        if bias is not None:
            made = made + bias
        return made.to(rows.dtype)


def _scale_of(largest: torch.Tensor, top: float) -> torch.Tensor:
    """What takes the largest value to ``top``, in float32: halves have no number so small."""
    return largest.float().clamp_min(1e-6) / top
