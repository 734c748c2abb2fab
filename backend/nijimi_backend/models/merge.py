"""Two or three checkpoint files and weights enter; a merged checkpoint file leaves.

Tensor by tensor, in float32: no checkpoint is ever in memory whole. Weighted sum is
(1 - a) A + a B, add difference A + a (B - C), as in the web UIs; ``blocks`` gives a for each part
of the UNet, in the order that block merging uses there: BASE, IN00 to IN11, M00, OUT00 to OUT11.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..errors import BadInput
from .headers import WeightsHeader, read_header
from .output_file import whole_file
from .recognise import UNET, VAE, FileKind, recognise
from .weight_files import read_weights

__all__ = ["BLOCKS", "merge_checkpoints"]

BLOCKS = ("BASE", *(f"IN{n:02}" for n in range(12)), "M00", *(f"OUT{n:02}" for n in range(12)))

_TYPES = {"fp16": (torch.float16, "F16"), "bf16": (torch.bfloat16, "BF16"),
          "fp32": (torch.float32, "F32")}  # fmt: skip


def merge_checkpoints(
    paths: Sequence[Path],
    target: Path,
    alpha: float,
    *,
    blocks: Sequence[float] = (),
    number_type: str = "fp16",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Two paths: weighted sum; three: add difference. Raises ``BadInput`` or ``ModelCorrupt``.

    The autoencoder is the first one's. ``target`` appears whole or not at all.
    """
    headers = [read_header(path) for path in paths]
    _check(headers, blocks)
    dtype, name = _TYPES[number_type]
    first = headers[0]
    keys = sorted(first.shapes)
    table: dict[str, object] = {"__metadata__": _metadata(headers, alpha, blocks)}
    place = 0
    for key in keys:
        size = dtype.itemsize * int(torch.Size(first.shapes[key]).numel())
        table[key] = {"dtype": name, "shape": list(first.shapes[key]),
                      "data_offsets": [place, place + size]}  # fmt: skip
        place += size
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(target) as beside:
        with beside.open("wb") as file:
            file.write(struct.pack("<Q", len(text)))
            file.write(text)
            for done, key in enumerate(keys, 1):
                merged = _merged(headers, key, _alpha_of(key, alpha, blocks)).to(dtype)
                file.write(merged.contiguous().view(torch.uint8).numpy().tobytes())
                progress(done, len(keys))
        read_header(beside)


def _merged(headers: Sequence[WeightsHeader], key: str, alpha: float) -> torch.Tensor:
    """One tensor, float32. What another file lacks stays the first one's."""
    values = [
        read_weights(header, {key: key}, torch.float32)[key].contiguous()
        for header in headers
        if key in header.shapes
    ]
    first = values[0]
    if len(values) < len(headers) or key.startswith(VAE) or alpha == 0.0:
        return first.reshape(-1)
    if len(values) == 2:
        return torch.lerp(first, values[1], alpha).reshape(-1)
    return (first + alpha * (values[1] - values[2])).reshape(-1)


def _alpha_of(key: str, alpha: float, blocks: Sequence[float]) -> float:
    if not blocks:
        return alpha
    match = re.match(re.escape(UNET) + r"(input_blocks|middle_block|output_blocks)\.(\d+)\.", key)
    if match is None:
        # Text encoders, time embedding and the last convolution.
        return blocks[0]
    side, number = match.group(1), int(match.group(2))
    start = {"input_blocks": 1, "middle_block": 13, "output_blocks": 14}[side]
    return blocks[start + (0 if side == "middle_block" else min(number, 11))]


def _check(headers: Sequence[WeightsHeader], blocks: Sequence[float]) -> None:
    if blocks and len(blocks) != len(BLOCKS):
        raise BadInput(
            f"There are {len(blocks)} weights of blocks.",
            f"Give {len(BLOCKS)}: {', '.join(BLOCKS)}.",
        )
    first = headers[0]
    kinds = [recognise(header) for header in headers]
    for header, kind in zip(headers, kinds, strict=True):
        if kind.kind is not FileKind.CHECKPOINT:
            raise BadInput(f"{header.path.name} is no checkpoint.", "Only checkpoints are merged.")
        if kind.family != kinds[0].family:
            raise BadInput(
                f"{header.path.name} is for {kind.family}, {first.path.name} for "
                f"{kinds[0].family}.",
                "Merge models of one family.",
            )
        for key, shape in header.shapes.items():
            if key in first.shapes and shape != first.shapes[key]:
                raise BadInput(
                    f"{header.path.name} and {first.path.name} differ in shape ({key}).",
                    "An inpaint checkpoint cannot be merged with a plain one.",
                )


def _metadata(
    headers: Sequence[WeightsHeader], alpha: float, blocks: Sequence[float]
) -> dict[str, str]:
    names = [header.path.stem for header in headers]
    how = f"{names[0]} + a ({names[1]} - {names[2]})" if len(names) == 3 else (
        f"(1 - a) {names[0]} + a {names[1]}"
    )  # fmt: skip
    said = {key: value for key, value in headers[0].metadata.items() if "hash" not in key}
    return {
        **said,
        "format": "pt",
        "modelspec.merged_from": ", ".join(names),
        "nijimi.merge": f"{how}, a = {list(blocks) if blocks else alpha}",
    }
