"""A network on a graphics card enters; its work, recorded once and replayed as a whole, leaves.

A UNet starts some 900 kernels a call, which at batch 1 takes a fast card longer than the
arithmetic; a CUDA graph starts all of them at once. Recorded work reads and writes where it did
when it was recorded: inputs are copied to that place, outputs from it, and weights must stay where
they are. LoRAs are laid into them in place, so that no slider records anew; a network that moves
to main memory is recorded no more (``Denoiser`` asks for its plain form then).

Written without a card at hand: what was recorded is compared with the plain network before it is
used, and where it differs, or cannot be recorded, the plain one serves on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch

from ..models.device import is_device_lost

__all__ = ["Recorder", "record_on_cuda"]

log = logging.getLogger(__name__)

WORTH_CALLS = 8
"""So many calls for one size show that it will stay: two frames of four steps."""
_WARM_CALLS = 3
"""The first calls choose kernels and allocate, which cannot be recorded."""
_TOLERANCE = 2e-2
"""Of the largest output. Kernels may be others in a recording; half precision rounds to 1e-3."""

Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""Work in; what replays it, and the outputs that each replay fills, out."""


class Recorder:
    """Packs networks for a device that ``record`` records on."""

    def __init__(self, record: Record | None = None) -> None:
        self._record = record

    def pack(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        """The network's function for inputs of these shapes."""
        return _Recorded(network, self._recording())

    def pack_at_once(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same of any work whose size is known to stay: recorded with its first call."""
        return _Recorded(work, self._recording(), worth_calls=1)

    def _recording(self) -> Record:
        # The first one makes a pool of memory, which all share: no two of them work at once.
        if self._record is None:
            self._record = record_on_cuda()
        return self._record


class _Recorded:
    """The plain network at first; recorded once its size has proved to stay."""

    def __init__(
        self, network: Callable[..., Any], record: Record, worth_calls: int = WORTH_CALLS
    ) -> None:
        self._network, self._record = network, record
        self._worth_calls = worth_calls
        self._calls = 0
        self._held: tuple[torch.Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None
        self._made: Any = None

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self._replay is not None:
            for held, given in zip(self._held, inputs, strict=True):
                held.copy_(given)
            self._replay()
            return _copied(self._made)
        made = self._network(*inputs)
        self._calls += 1
        if self._calls == self._worth_calls:
            self._begin(inputs, made)
        return made

    def _begin(self, inputs: tuple[torch.Tensor, ...], expected: Any) -> None:
        """Record, and keep it if it gives what the plain network gave."""
        held = tuple(each.clone() for each in inputs)
        try:
            replay, made = self._record(lambda: self._network(*held))
            replay()
            agrees = _differ_by(made, expected) <= _TOLERANCE
        except RuntimeError as error:
            if is_device_lost(error):
                raise
            log.warning("the network's work cannot be recorded; it is started step by step",
                        exc_info=True)  # fmt: skip
            return
        if not agrees:
            log.warning("recorded work differs from the plain network, which serves on")
            return
        self._held, self._replay, self._made = held, replay, made


def record_on_cuda() -> Record:
    """Records into CUDA graphs that share one pool of memory."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        # torch's own recipe: what is recorded must have run on another stream before.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_CALLS):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            made = work()
        return graph.replay, made

    return record


def _tensors(made: Any) -> tuple[torch.Tensor, ...]:
    return (made,) if isinstance(made, torch.Tensor) else tuple(made)


def _copied(made: Any) -> Any:
    """The next replay, of any size, may write where these lie."""
    return made.clone() if isinstance(made, torch.Tensor) else tuple(each.clone() for each in made)


def _differ_by(made: Any, expected: Any) -> float:
    """The largest difference, as a part of the largest value; infinite where one is no number."""
    worst = 0.0
    for one, other in zip(_tensors(made), _tensors(expected), strict=True):
        size = float(other.float().abs().max())
        difference = float((one.float() - other.float()).abs().max()) / max(size, 1e-6)
        worst = max(worst, float("inf") if math.isnan(difference) else difference)
    return worst
