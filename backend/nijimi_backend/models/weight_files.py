"""A .safetensors file's header and names enter; those tensors leave, one by one, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from safetensors import SafetensorError, safe_open

from ..errors import ModelCorrupt
from .headers import COPY_AGAIN, WeightsHeader, first_line

__all__ = ["iterate_weights", "own_memory", "read_weights"]

_GROUP_BYTES = 128 * 1024 * 1024
"""A file is mapped anew after so much of it: pages that were read count as ours until then."""


def iterate_weights(
    header: WeightsHeader,
    keys: Iterable[str],
) -> Iterator[tuple[str, torch.Tensor]]:
    """The named tensors one by one, as stored, unchecked; copy what is to be kept.

    Raises ``ModelCorrupt`` where the file has changed.
    """
    waiting = list(keys)
    while waiting:
        used = 0
        try:
            with safe_open(header.path, framework="pt") as weights:
                while waiting and used < _GROUP_BYTES:
                    key = waiting.pop(0)
                    tensor: torch.Tensor = weights.get_tensor(key)
                    used += tensor.nbytes
                    yield key, tensor
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelCorrupt(
                f"{header.path.name} is damaged ({first_line(error)}).", COPY_AGAIN
            ) from error


def read_weights(
    header: WeightsHeader,
    names: Mapping[str, str],
    dtype: torch.dtype | None = None,
    note: Callable[[int], None] = lambda _bytes: None,
) -> dict[str, torch.Tensor]:
    """Tensors by new name (``names``: in the file, to ours), copied and of ``dtype``, None for as
    stored; convolutions' weights lie channels last, as the networks will want them. ``note`` hears
    after each how many bytes it had in the file.

    Raises ``ModelCorrupt`` for numbers that are not finite. fp8 files may come with scales of their
    own (``….scale_weight``): they are multiplied in.
    """
    beside = {key: key.removesuffix("weight") + "scale_weight" for key in names}
    wanted = [scale for scale in beside.values() if scale in header.shapes]
    scales = {key: float(value) for key, value in iterate_weights(header, wanted)}
    result: dict[str, torch.Tensor] = {}
    for key, tensor in iterate_weights(header, names):
        layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        # One pass for type and layout: a large file's weights are not walked through twice.
        kept = tensor.to(wanted, copy=True, memory_format=layout)
        if kept.is_floating_point() and not _is_finite(kept):
            raise ModelCorrupt(
                f"{header.path.name} holds numbers that are not finite ({key}).",
                "Copy or download it again, or choose another one.",
            )
        scale = scales.get(beside[key])
        result[names[key]] = kept if scale is None else kept.mul_(scale)
        note(tensor.nbytes)
    return result


def own_memory(network: torch.nn.Module) -> None:
    """Copy every tensor out of the file that it may be mapped from.

    Libraries hand out weights that are pages of the file: somebody who overwrites it later would
    change the picture, and who cuts it short would end this process by SIGBUS.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _is_finite(tensor: torch.Tensor) -> bool:
    if tensor.element_size() == 1:
        tensor = tensor.float()
    # A sum is finite only if all are, and far quicker than a mask; it may overflow, then look. In
    # the tensor's own type: told float32, torch sums bfloat16 25 times slower.
    if bool(torch.isfinite(tensor.sum())):
        return True
    return bool(torch.isfinite(tensor).all())
