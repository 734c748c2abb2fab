"""Nothing enters; a small ONNX file of one node leaves, written by hand.

Field numbers are those of onnx.proto (ONNX 1.x).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_mean_network", "write_repeating_network"]

_FLOAT = 1
_INT64 = 7
_INTS = 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto; a name in the shape is a side that may be any."""
    sides = b"".join(
        _bytes(1, _number(1, side) if isinstance(side, int) else _bytes(2, side)) for side in shape
    )
    tensor = _number(1, _FLOAT) + _bytes(2, sides)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def write_mean_network(
    path: Path, sides: tuple[int | str, int | str] = ("h", "w"), *, keeps: bool = False
) -> Path:
    """1 x 3 x h x w in; 1 x h x w out, or with ``keeps`` as many channels as went in."""
    axes = _bytes(1, "axes") + b"".join(_number(8, axis) for axis in (1,)) + _number(20, _INTS)
    drop = _bytes(1, "keepdims") + _number(3, 0) + _number(20, 2)
    if keeps:
        node = _bytes(1, "image") + _bytes(2, "depth") + _bytes(4, "Identity")
    else:
        node = (
            _bytes(1, "image") + _bytes(2, "depth") + _bytes(4, "ReduceMean")
            + _bytes(5, axes) + _bytes(5, drop)
        )  # fmt: skip
    out = (1, 3, *sides) if keeps else (1, *sides)
    graph = (
        _bytes(1, node) + _bytes(2, "mean")
        + _bytes(11, _value("image", (1, 3, *sides))) + _bytes(12, _value("depth", out))
    )  # fmt: skip
    return _write(path, graph)


def write_repeating_network(path: Path, channels: int) -> Path:
    """1 x 3 x h x w in; the three channels again and again, 1 x ``channels`` x h x w, out."""
    node = _bytes(1, "image") + _bytes(1, "repeats") + _bytes(2, "scores") + _bytes(4, "Tile")
    repeats = (
        _number(1, 4) + _number(2, _INT64) + _bytes(8, "repeats")
        + _bytes(9, struct.pack("<4q", 1, channels // 3, 1, 1))
    )  # fmt: skip
    graph = (
        _bytes(1, node) + _bytes(2, "repeat") + _bytes(5, repeats)
        + _bytes(11, _value("image", (1, 3, "h", "w")))
        + _bytes(12, _value("scores", (1, channels, "h", "w")))
    )  # fmt: skip
    return _write(path, graph)


def _write(path: Path, graph: bytes) -> Path:
    opset = _bytes(8, _bytes(1, "") + _number(2, 13))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + opset)
    return path
