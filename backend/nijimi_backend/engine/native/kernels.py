"""Tensors of bfloat16 on the CPU enter; what the C functions of this folder make of them leaves."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

__all__ = ["LARGEST_WIDTH", "Bytes", "Kernels"]

LARGEST_WIDTH = 256
"""Of a head; as in native.h."""

_LINE_BYTES = 64
_GATE_STEP = 32
_CHANNELS = 16
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int


class Bytes(NamedTuple):
    """Unsigned bytes, each of which stands for (byte - zero) * scale; a scale that is no number
    says that they stand for nothing."""

    values: torch.Tensor
    scale: float
    zero: int


class Kernels:
    """Any thread may call them, each with as many threads as torch takes there."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._attention = library.nijimi_attention
        self._attention.argtypes = [
            *[_POINTER] * 5, *[_LONG] * 5, ctypes.c_float, _POINTER, _INT,
        ]  # fmt: skip
        self._room = library.nijimi_attention_room
        self._room.argtypes, self._room.restype = [_LONG] * 3, _LONG
        self._round = library.nijimi_round
        self._round.argtypes = [_POINTER, _POINTER, _LONG, _POINTER, _INT]
        self._gate = library.nijimi_gate
        self._gate.argtypes = [_POINTER, _POINTER, _LONG, _LONG, _INT]
        self._group_norm = library.nijimi_group_norm
        self._group_norm.argtypes = [
            *[_POINTER] * 5, *[_LONG] * 4, ctypes.c_float, _INT, _POINTER, _INT,
        ]  # fmt: skip
        self._group_norm_room = library.nijimi_group_norm_room
        self._group_norm_room.argtypes = [_LONG, _INT]
        self._group_norm_room.restype = _LONG
        self._row_norm = library.nijimi_row_norm
        self._row_norm.argtypes = [*[_POINTER] * 4, _LONG, _LONG, ctypes.c_float, _INT]
        for function in (
            self._attention, self._round, self._gate, self._group_norm, self._row_norm,
        ):  # fmt: skip
            function.restype = None

    def attention(
        self, batch: int, heads: int, queries: int, keys: int, width: int, threads: int
    ) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
        """softmax(Q K^T / sqrt(width)) V of tensors B x H x T x D of these sizes. RuntimeError for
        a width that it has not."""
        if width % 2 or width > LARGEST_WIDTH:
            raise RuntimeError(f"heads of {width} values are not even, or too wide")
        room_bytes = int(self._room(batch * heads, keys, width)) + _LINE_BYTES
        scale = width**-0.5

        def run(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            given = [_lies_in_pairs(each) for each in (query, key, value)]
            # As diffusers lays heads: beside each other, so that nothing is copied after it.
            made = torch.empty((batch, queries, heads, width), dtype=query.dtype).transpose(1, 2)
            strides = [step for each in (*given, made) for step in each.stride()[:3]]
            room = torch.empty(room_bytes, dtype=torch.uint8)
            begin = -(-room.data_ptr() // _LINE_BYTES) * _LINE_BYTES
            self._attention(
                *(each.data_ptr() for each in (*given, made)), (_LONG * 12)(*strides), batch,
                heads, queries, keys, width, scale, begin, threads,
            )  # fmt: skip
            return made

        return run

    def rounded(self, x: torch.Tensor) -> Bytes:
        """``x``: of any shape, in one piece of memory, as the bytes that come of it are."""
        values = torch.empty_like(x, dtype=torch.uint8)
        told = (ctypes.c_float * 2)()
        self._round(x.data_ptr(), values.data_ptr(), x.numel(), told, torch.get_num_threads())
        scale, zero = float(told[0]), float(told[1])
        return Bytes(values, scale, 0 if math.isnan(zero) else int(zero))

    def takes_gate(self, x: torch.Tensor) -> bool:
        """Whether ``gated`` has this shape and type."""
        return (
            x.dtype == torch.bfloat16
            and x.is_contiguous()
            and x.dim() > 0
            and x.shape[-1] % (2 * _GATE_STEP) == 0
        )

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        """... x 2 N: the first half of each row times GELU of the second one, ... x N."""
        width = x.shape[-1] // 2
        made = torch.empty((*x.shape[:-1], width), dtype=x.dtype)
        rows = made.numel() // width if width else 0
        self._gate(x.data_ptr(), made.data_ptr(), rows, width, torch.get_num_threads())
        return made

    def takes_picture(self, x: torch.Tensor, norm: torch.nn.GroupNorm) -> bool:
        """Whether ``group_normed`` has this shape, type and layout."""
        return (
            x.dim() == 4
            and x.dtype == torch.bfloat16
            and _has_halves(norm)
            and x.shape[1] == norm.num_channels
            and norm.num_channels % _CHANNELS == 0
            and x.numel() > 0
            and x.is_contiguous(memory_format=torch.channels_last)
        )

    def group_normed(
        self, x: torch.Tensor, norm: torch.nn.GroupNorm, *, with_silu: bool,
        add: torch.Tensor | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """B x C x H x W, normalised; ``add``, B x C of the same type, is added before, and SiLU
        is taken after it ``with_silu``. Rounded once."""
        batch, channels, height, width = x.shape
        made, threads = torch.empty_like(x), torch.get_num_threads()
        room = torch.empty(self._group_norm_room(channels, threads), dtype=torch.uint8)
        added = None if add is None else add.contiguous()
        self._group_norm(
            x.data_ptr(), made.data_ptr(), None if added is None else added.data_ptr(),
            norm.weight.data_ptr(), norm.bias.data_ptr(), batch, height * width, channels,
            norm.num_groups, norm.eps, with_silu, room.data_ptr(), threads,
        )  # fmt: skip
        return made

    def takes_rows(self, x: torch.Tensor, norm: torch.nn.LayerNorm) -> bool:
        """Whether ``row_normed`` has this shape, type and layout."""
        return (
            x.dtype == torch.bfloat16
            and _has_halves(norm)
            and norm.normalized_shape == tuple(x.shape[-1:])
            and x.shape[-1] % _CHANNELS == 0
            and x.numel() > 0
            and x.is_contiguous()
        )

    def row_normed(self, x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
        """... x N, each row normalised."""
        made = torch.empty_like(x)
        self._row_norm(
            x.data_ptr(), made.data_ptr(), norm.weight.data_ptr(), norm.bias.data_ptr(),
            x.numel() // x.shape[-1], x.shape[-1], norm.eps, torch.get_num_threads(),
        )  # fmt: skip
        return made


def _has_halves(norm: torch.nn.GroupNorm | torch.nn.LayerNorm) -> bool:
    """Whether it has weights, and a shift, of bfloat16 in one piece."""
    # Not every one has them, whatever their types say.
    weights: list[Any] = [norm.weight, norm.bias]
    return all(
        each is not None and each.dtype == torch.bfloat16 and each.is_contiguous()
        for each in weights
    )


def _lies_in_pairs(tensor: torch.Tensor) -> torch.Tensor:
    """The same, copied where the values of a head do not lie beside each other in whole pairs."""
    if tensor.stride(-1) == 1 and all(step % 2 == 0 for step in tensor.stride()[:-1]):
        return tensor
    return tensor.contiguous()
