"""Queries, keys and values enter; attention leaves, by another's kernel where that proves quicker.

With AMX it is one of ours (``native``), where it can be built: 25 ms for 53 by torch and 93 by
OpenVINO, for 8 heads of 4096 tokens of width 40, as SD1.5 has them at 512 px. Its threads are
torch's, so that it gains for small shapes, too.

On other CPUs that multiply bfloat16 it is OpenVINO's: torch's takes a third of a large network's
step, 175 ms for those heads on two Zen 4 cores, and OpenVINO's 90, made in 40. All round to
bfloat16 at about the same places: against float32 torch's and OpenVINO's are off by 6e-5 and 8e-5
there (root mean square). Whoever asks torch for attention gets it, adapters included. Small ones
stay torch's there: two libraries' threads wait for each other at each change, which takes what
they would gain (bk-sdm-tiny at 256 px: 345 ms a step without, 361 with all of its attention).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from .cache import StageCache
from .native.provider import Native
from .openvino_net import MUST_GAIN, openvino_attention

__all__ = [
    "LEAST_SCORES",
    "NATIVE_SCORES",
    "TRIAL_CALLS",
    "Attending",
    "QuickAttention",
    "native_attention",
]

log = logging.getLogger(__name__)

LEAST_SCORES = 50_000_000
"""Products of a query with a key, of all heads. SD1.5 has 134 million of them at 512 px."""

NATIVE_SCORES = 100_000
"""The same, where threads are torch's: below it both ways take some 0.06 ms."""

TRIAL_CALLS = 3
"""Of each way, until the quicker one stays; a UNet has five calls of its largest shape a step."""

_SHAPES = 32

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Queries B x H x T x D, keys and values B x H x S x D in, B x H x T x D out."""


class QuickAttention(TorchFunctionMode):
    """While it is entered, torch's ``scaled_dot_product_attention`` of large shapes in bfloat16 is
    the quicker of torch's and ``make``'s. For one thread only.

    ``make``: batch, heads, queries, keys, width, threads in, a function for them out; RuntimeError
    and ImportError where it has none. ``by``: whose it is. ``is_ready``: until then all of it is
    torch's.
    """

    def __init__(
        self,
        make: Callable[[int, int, int, int, int, int], Product] = openvino_attention,
        clock: Callable[[], float] = time.perf_counter,
        least_scores: int = LEAST_SCORES,
        by: str = "OpenVINO",
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self._make, self._clock, self._least = make, clock, least_scores
        self._by, self._is_ready = by, is_ready
        self._shapes: StageCache[_Shape] = StageCache(_SHAPES)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        is_attention = func is scaled_dot_product_attention
        if not (is_attention and self._takes(*args, **given) and self._is_ready()):
            return func(*args, **given)
        query, key, value = args
        batch, heads, queries, width = query.shape
        shape = (batch, heads, queries, key.shape[2], width, torch.get_num_threads())
        chosen = self._shapes.get(
            shape, lambda: _Shape(partial(self._make, *shape), self._clock, self._by)
        )
        return chosen(partial(func, **given), query, key, value)

    def _takes(self, *tensors: Any, **options: Any) -> bool:
        """Whether it is the plain product, and large enough."""
        # Told by place, a mask would be the fourth; nothing here does so.
        if len(tensors) != 3 or any(
            options.get(name) is not None for name in ("attn_mask", "scale")
        ):
            return False
        if any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
            return False
        query, key, value = tensors
        return (
            query.dtype == key.dtype == value.dtype == torch.bfloat16
            and query.device.type == "cpu"
            and query.dim() == 4
            and key.shape == value.shape
            and key.shape[:2] == query.shape[:2]
            and key.shape[3] == query.shape[3]
            and query.shape[:3].numel() * key.shape[2] >= self._least
            and not torch.is_grad_enabled()
        )


def native_attention(native: Native) -> QuickAttention:
    """By a kernel of ours, from when it is built."""

    def make(*shape: int) -> Product:
        if (kernels := native.kernels) is None:
            raise RuntimeError("it is not built")
        return kernels.attention(*shape)

    return QuickAttention(
        make, least_scores=NATIVE_SCORES, by="a kernel of ours",
        is_ready=lambda: native.kernels is not None,
    )  # fmt: skip


class Attending:
    """A function of tensors that runs within ``attention``."""

    def __init__(self, function: Callable[..., Any], attention: QuickAttention) -> None:
        self.function, self._attention = function, attention

    def __call__(self, *inputs: torch.Tensor) -> Any:
        with self._attention:
            return self.function(*inputs)


class _Shape:
    """Both ways in turns, until it is known which is quicker."""

    def __init__(self, make: Callable[[], Product], clock: Callable[[], float], by: str) -> None:
        self._clock, self._by = clock, by
        self._calls = 0
        self._best_s = {"torch": float("inf"), "other": float("inf")}
        self._other: Product | None = None
        try:
            self._other = make()
        except (RuntimeError, ImportError):
            log.warning("attention stays torch's", exc_info=True)

    def __call__(self, plain: Product, *tensors: torch.Tensor) -> torch.Tensor:
        if self._other is None:
            return plain(*tensors)
        is_tried = self._calls <= 2 * TRIAL_CALLS
        if is_tried and self._calls % 2:
            return self._timed("torch", plain, *tensors)
        try:
            if is_tried:
                return self._timed("other", self._other, *tensors)
            return self._other(*tensors)
        except (RuntimeError, TypeError, ValueError):
            log.warning("a quicker attention failed; torch's stays", exc_info=True)
            self._other = None
            return plain(*tensors)

    def _timed(self, name: str, way: Product, *tensors: torch.Tensor) -> torch.Tensor:
        began = self._clock()
        made = way(*tensors)
        if self._calls:
            # The first call of the other one allocates.
            self._best_s[name] = min(self._best_s[name], self._clock() - began)
        self._calls += 1
        if self._calls > 2 * TRIAL_CALLS:
            self._decide(tensors[0].shape)
        return made

    def _decide(self, shape: torch.Size) -> None:
        before, after = self._best_s["torch"], self._best_s["other"]
        gains = after <= MUST_GAIN * before
        log.info("attention of %s: %.1f ms by torch, %.1f ms by %s, which %s",
                 " x ".join(map(str, shape)), 1000 * before, 1000 * after, self._by,
                 "stays" if gains else "goes")  # fmt: skip
        if not gains:
            self._other = None
