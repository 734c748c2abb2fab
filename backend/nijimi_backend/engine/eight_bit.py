"""A large network's layers enter; the same layers by products of eight bits leave.

CPUs with VNNI multiply bytes nearly twice as fast as bfloat16: oneDNN's convolutions reach 0.84 to
0.89 TFLOP/s on two Zen 4 cores, and 0.46 in bfloat16. Weights are rounded once,
with a scale for each output; what a layer reads is rounded at each call, with one scale and one
zero for all of it (Jacob et al., arXiv 1712.05877, equation 1), as pictures differ too much for
scales that are kept. Sums are of 32 bits, and what leaves a layer is of the network's own type.

It is less exact, and so the painter's choice: ``LargePack`` compares it with the plain network on
the painter's own picture before it is used.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch

from .native.kernels import Bytes, Kernels
from .packed import Forward, Layer, turned, turns_weights

__all__ = ["MUST_AGREE_DB", "in_eight_bits", "multiplies_bytes"]

MUST_AGREE_DB = 30.0
"""Of a call's output against the plain network's, the peak being all that it spans."""

_LEAST_ROWS = 64
_LEAST_WIDTH = 64
_LEAST_PRODUCTS = 300
"""Of each value that a layer reads. Rounding it takes as long as some 150 products gain."""

_LARGEST_WEIGHT = 127
_LEVELS = 254
"""Of 256: so the largest value stays within a byte, wherever zero is rounded to."""

_MIDDLE = 128
"""torch rounds to signed bytes quickest, oneDNN reads unsigned ones."""


class _Rounder:
    """Rounds what layers read; queries, keys and values read the same, which is rounded once."""

    def __init__(self, kernels: Kernels | None) -> None:
        self._kernels = kernels
        self._last: weakref.ref[torch.Tensor] | None = None
        self._made: Bytes | None = None

    def __call__(self, x: torch.Tensor) -> Bytes:
        if self._made is None or self._last is None or self._last() is not x:
            self._made = self._round(x)
            self._last = weakref.ref(x)
        return self._made

    def _round(self, x: torch.Tensor) -> Bytes:
        if self._kernels is not None and x.dtype == torch.bfloat16 and _dense(x).is_contiguous():
            return self._kernels.rounded(x)
        lowest, highest = torch.aminmax(_dense(x))
        # Zero must be a byte of its own: convolutions are padded with it.
        low, high = min(float(lowest), 0.0), max(float(highest), 0.0)
        scale = max((high - low) / _LEVELS, 1e-12)
        if not math.isfinite(scale):
            # What is no number stays none, as it does in the network itself.
            scale = math.nan
        zero = _MIDDLE if math.isnan(scale) else round(-low / scale)
        shift = torch.tensor(float(zero - _MIDDLE), dtype=x.dtype)
        signed = torch.add(shift, x, alpha=1.0 / scale).round_().to(torch.int8)
        values = signed.view(torch.uint8).bitwise_xor_(_MIDDLE)
        return Bytes(values, scale, zero)


def multiplies_bytes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether it pays: a CPU with VNNI. Without it oneDNN adds pairs in 16 bits: too few."""
    if device.type != "cpu" or dtype not in (torch.bfloat16, torch.float32):
        return False
    has_vnni: bool = torch.cpu._is_vnni_supported()  # pyright: ignore[reportPrivateUsage]
    return has_vnni and hasattr(torch.ops.onednn, "qconv2d_pointwise")


def in_eight_bits(
    shapes: dict[Layer, torch.Size], kernels: Kernels | None = None
) -> dict[Layer, Forward]:
    """What computes each layer, given what it reads, by its shape; those that would gain nothing
    are turned, as ``packed`` does it, where that pays. ``kernels`` round in one function
    what takes torch five operations."""
    rounder = _Rounder(kernels)
    made: dict[Layer, Forward] = {}
    for layer, shape in shapes.items():
        if _gains(layer, shape):
            made[layer] = _forward(layer, shape, rounder)
        elif turns_weights(layer.weight.device, layer.weight.dtype):
            made[layer] = turned(layer, shape)
    return made


def _gains(layer: Layer, shape: torch.Size) -> bool:
    weight = layer.weight
    width, products = weight.shape[1], weight.numel() // weight.shape[1]
    if isinstance(layer, torch.nn.Conv2d):
        rows = shape[0] * shape[-1] * shape[-2]
        if layer.groups != 1:
            return False
    else:
        rows = shape.numel() // shape[-1]
    return rows >= _LEAST_ROWS and width >= _LEAST_WIDTH and products >= _LEAST_PRODUCTS


def _forward(layer: Layer, shape: torch.Size, rounder: _Rounder) -> Forward:
    """oneDNN's convolution; rows are a picture of one column, as its product of rows refuses most
    shapes (torch 2.13)."""
    ops: Any = torch.ops.onednn
    if isinstance(layer, torch.nn.Conv2d):
        assert not isinstance(layer.padding, str)
        form = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        seen = list(shape)
    else:
        form = ([1, 1], [0, 0], [1, 1], 1)
        seen = [1, shape[-1], shape.numel() // shape[-1], 1]
    rounded, scales = _rounded_weight(layer.weight.data)
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    # How weights lie does not depend on the scale and zero of what is read.
    ready = ops.qconv_prepack(rounded, scales, 1.0, _MIDDLE, *form, seen)
    bias = None if layer.bias is None else layer.bias.data.float()

    def convolved(values: torch.Tensor, read: Bytes, dtype: torch.dtype) -> torch.Tensor:
        return ops.qconv2d_pointwise(
            values, read.scale, read.zero, ready, scales, zeros, bias, *form, 1.0, 0, dtype,
            "none", [], "",
        )  # fmt: skip

    if isinstance(layer, torch.nn.Conv2d):

        def picture(x: torch.Tensor) -> torch.Tensor:
            read = rounder(x)
            return convolved(read.values, read, x.dtype)

        return picture

    def rows(x: torch.Tensor) -> torch.Tensor:
        read = rounder(x)
        column = read.values.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # 1 x C x rows x 1
        made = convolved(column, read, x.dtype)
        return made.permute(0, 2, 3, 1).reshape(*x.shape[:-1], made.shape[1])

    return rows


def _rounded_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signed bytes O x I x k x k, and each output's scale, float32."""
    if weight.dim() == 2:
        # A row of products is a convolution with a kernel of 1 x 1.
        weight = weight[:, :, None, None]
    # As convolutions lie in memory: O x k x k x I to O rows.
    lying = weight.permute(0, 2, 3, 1)
    rows = lying.reshape(len(weight), -1)
    # Of halves, which takes a third of what absolute values in float32 do.
    largest = torch.maximum(rows.amax(1), -rows.amin(1)).float().clamp_min(1e-12)
    scales = largest / _LARGEST_WEIGHT
    scaled = rows.to(torch.float32, copy=True).mul_(1.0 / scales[:, None])
    whole = scaled.round_().to(torch.int8)
    # oneDNN turns weights round quicker that lie as torch's own do.
    return whole.view(lying.shape).permute(0, 3, 1, 2).contiguous(), scales


def _dense(x: torch.Tensor) -> torch.Tensor:
    """The same values as they lie in memory: torch finds their extremes six times as fast."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1)
    return x
