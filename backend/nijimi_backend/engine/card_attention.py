"""The attentions that a network asks for enter; the kernel that computes them quickest leaves.

On a graphics card torch has several kernels for scaled_dot_product_attention: its FlashAttention
(Dao, arXiv 2307.08691), cuDNN's, a memory-efficient one, and where their packages are installed
FlashAttention 3 and 4 in place of its own. Which one is quickest depends on the card and on the
width of a head (40, 80 and 160 in SD1.5, 64 in SDXL), so they are timed once, by the shapes that
the picture unseen has asked for, before anything is recorded. Torch's settings for it are the
process's: what is preferred stays so until something else is.

Written without a card at hand: on the CPU torch has two of these kernels, by which it is tested.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn.attention import (
    SDPBackend,
    activate_flash_attention_impl,
    current_flash_attention_impl,
    restore_flash_attention_impl,
    sdpa_kernel,
)
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from .openvino_net import MUST_GAIN

__all__ = [
    "AskedShapes",
    "AttentionShape",
    "Kernel",
    "kernels_of",
    "prefer",
    "put_back",
    "quickest",
]

log = logging.getLogger(__name__)

_CALLS = 9
_TOLERANCE = 2e-2
"""Of the largest value, against the plain product: halves round to 1e-3."""
_COMPARED_QUERIES = 256
"""Of each head, the last among them: the plain product holds all scores, in float32. A VAE at
1024 px asks for 16384 queries of as many keys, which would be a GiB, and its softmax another."""


class AttentionShape(NamedTuple):
    """Of one call. ``width``: of a head."""

    batch: int
    heads: int
    queries: int
    keys: int
    width: int


class AskedShapes(TorchFunctionMode):
    """While it is entered, notes which attentions are asked for, and how often; no masked ones."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[AttentionShape] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is scaled_dot_product_attention and (shape := _plain_shape(*args, **given)):
            self.counts[shape] += 1
        return func(*args, **given)


def _plain_shape(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    **_options: Any,
) -> AttentionShape | None:  # fmt: skip
    """Told by place or by torch's names: diffusers does either. None for more than a product,
    which not every kernel takes."""
    is_plain = attn_mask is None and not is_causal and not dropout_p
    if not is_plain or query.dim() != 4 or key.shape[:2] != query.shape[:2]:
        return None
    batch, heads, queries, width = query.shape
    return AttentionShape(batch, heads, queries, key.shape[2], width)


@dataclass(frozen=True)
class Kernel:
    """``flash``: what takes the place of torch's FlashAttention, "" for its own."""

    name: str
    backend: SDPBackend
    flash: str = ""

    @property
    def others(self) -> list[SDPBackend]:
        """In torch's order on most cards; the plain product, which can do everything, is last."""
        return [each for each in _ORDER if each is not self.backend]

    @contextmanager
    def first(self) -> Generator[None]:
        """Within, it is asked first, and whatever it cannot do is done by the others."""
        before = current_flash_attention_impl() or ""
        try:
            _put_flash(self.flash)
            with sdpa_kernel([self.backend, *self.others], set_priority=True):
                yield
        finally:
            _put_flash(before)


_ORDER = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
)

_OWN = (
    Kernel("flash", SDPBackend.FLASH_ATTENTION),
    Kernel("cuDNN", SDPBackend.CUDNN_ATTENTION),
    Kernel("memory-efficient", SDPBackend.EFFICIENT_ATTENTION),
)

_INSTALLED = (("FA3", "flash_attn_interface", (9,)), ("FA4", "flash_attn.cute", (9, 10)))
"""Torch's names for them, their packages, and the generations of cards that they are made for."""


def kernels_of(device: torch.device) -> tuple[Kernel, ...]:
    """What may be tried there; nothing but on a graphics card."""
    if device.type != "cuda":
        return ()
    generation = torch.cuda.get_device_capability(device)[0]
    more = [
        Kernel(name, SDPBackend.FLASH_ATTENTION, name)
        for name, package, generations in _INSTALLED
        if generation in generations and _has(package)
    ]
    return (*_OWN, *more)


def quickest(
    counts: Mapping[AttentionShape, int],
    device: torch.device,
    dtype: torch.dtype,
    kernels: Sequence[Kernel],
    time_ms: Callable[[Callable[[], torch.Tensor]], float] | None = None,
) -> Kernel | None:
    """The kernel that takes clearly less for all of them than torch's own choice; None: none does.

    One that gives something else than torch's is not used.
    """
    timed = time_ms or _time_ms

    def taken(shape: AttentionShape) -> float:
        return timed(partial(scaled_dot_product_attention, *_tensors(shape, device, dtype)))

    own_ms = {shape: taken(shape) for shape in counts}
    best, best_ms = None, MUST_GAIN * _total(own_ms, counts)
    for kernel in kernels:
        try:
            with kernel.first():
                taken_ms = {shape: taken(shape) for shape in counts}
                agrees = all(_agrees(shape, device, dtype) for shape in counts)
        except Exception:
            # The edge of a package that compiles for the card: FlashAttention 4 refuses shapes by
            # assert, and its compiler's errors have nothing in common with torch's.
            log.warning("attention by %s cannot be", kernel.name, exc_info=True)
            continue
        total_ms = _total(taken_ms, counts)
        log.info("attention by %s: %.2f ms, %.2f by torch's choice", kernel.name, total_ms,
                 _total(own_ms, counts))  # fmt: skip
        if not agrees:
            log.warning("attention by %s gives something else, and is not used", kernel.name)
        elif total_ms < best_ms:
            best, best_ms = kernel, total_ms
    return best


def prefer(kernel: Kernel | None) -> None:
    """From now on, in this process; None changes nothing."""
    if kernel is None:
        return
    log.info("attention is computed by %s", kernel.name)
    _put_flash(kernel.flash)
    # Its public form is undone at the end of a block; this one lasts.
    put_in_order: Any = importlib.import_module("torch.nn.attention")._sdpa_kernel
    put_in_order([kernel.backend, *kernel.others], set_priority=True)


def put_back() -> None:
    """Torch's own FlashAttention again: another one may refuse what the next model asks for, and
    torch does not fall back from within it. The order stays as it was preferred."""
    _put_flash("")


def _put_flash(name: str) -> None:
    """In the place of torch's FlashAttention; "" for its own."""
    current = current_flash_attention_impl() or ""
    if name and name != current:
        activate_flash_attention_impl(name)
    elif current and not name:
        restore_flash_attention_impl()


def _tensors(
    shape: AttentionShape, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value, of the same numbers each time; heads lie beside each other in memory,
    as diffusers lays them: kernels' times depend on it."""
    generator = torch.Generator("cpu").manual_seed(0)
    batch, heads, queries, keys, width = shape
    query, key, value = (
        torch.randn(batch, n, heads, width, generator=generator).to(device, dtype).transpose(1, 2)
        for n in (queries, keys, keys)
    )
    return query, key, value


def _agrees(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether some of the queries get now what the plain product gives."""
    query, key, value = _tensors(shape, device, dtype)
    count = min(shape.queries, _COMPARED_QUERIES)
    some = torch.linspace(0, shape.queries - 1, count).round().long().to(device)
    made = scaled_dot_product_attention(query, key, value)[:, :, some].float()
    with sdpa_kernel(SDPBackend.MATH):
        expected = scaled_dot_product_attention(query[:, :, some], key, value).float()
    worst = float((made - expected).abs().max() / expected.abs().max())
    # What is no number is not near, either.
    return worst <= _TOLERANCE


def _total(each_ms: Mapping[AttentionShape, float], counts: Mapping[AttentionShape, int]) -> float:
    return sum(each_ms[shape] * count for shape, count in counts.items())


def _time_ms(call: Callable[[], torch.Tensor]) -> float:
    """The middle of some calls, once the first have made what they need. Waits for its own stream
    only: waiting for the whole card spoils what another thread records (``recorded``)."""
    stream = torch.cuda.current_stream()
    spent: list[float] = []
    for n in range(_CALLS + 2):
        stream.synchronize()
        began = time.perf_counter()
        call()
        stream.synchronize()
        if n >= 2:
            spent.append(1000.0 * (time.perf_counter() - began))
    return statistics.median(spent)


def _has(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
