"""A network on a graphics card enters; its work, recorded once and replayed as a whole, leaves.

A UNet starts some 900 kernels a call, which at batch 1 takes a fast card longer than the
arithmetic; a CUDA graph starts all of them at once. Recorded work reads and writes where it did
when it was recorded: inputs are copied to that place, outputs from it, and weights must stay where
they are. LoRAs are laid into them in place, so that no slider records anew; a network that moves
to main memory is recorded no more (``Denoiser`` asks for its plain form then).

While something is compiled by another thread (``compiled``) nothing is recorded: it waits for the
whole device again and again, which spoils a recording, whoever does it (CUDA's programming guide,
"Prohibited and Unhandled Operations"). What was to be recorded serves as it is until that is over.

Written without a card at hand: what was recorded is compared with the plain network before it is
used, and where it differs, or cannot be recorded, the plain one serves on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch

from ..models.device import is_device_lost
from .frozen import tensors_of

__all__ = ["Agree", "Pauses", "Recorder", "any_quicker", "quicker_work", "record_on_cuda"]

log = logging.getLogger(__name__)

WORTH_CALLS = 8
"""So many calls for one size show that it will stay: two frames of four steps."""
_WARM_CALLS = 3
"""The first calls choose kernels and allocate, which cannot be recorded."""
_TOLERANCE = 2e-2
"""Of the largest output. Kernels may be others in a recording; half precision rounds to 1e-3."""

_CAPTURE_ERRORS = range(900, 909)
"""cudaErrorStreamCapture* of the CUDA runtime: a recording is void, and the device works on."""

Agree = Callable[[Any, Any], bool]
"""What was recorded, and what it stands for, in; whether both are the same for a painter, out."""

Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""Work in; what replays it, and the outputs that each replay fills, out."""


class Pauses:
    """When something was rendered last, and who has the device to himself. One for all that works
    on a device; thread-safe."""

    def __init__(self) -> None:
        self._alone = threading.RLock()
        self._called_s = time.monotonic()

    def note_call(self) -> None:
        self._called_s = time.monotonic()

    def have_lasted(self, rest_s: float) -> bool:
        return time.monotonic() - self._called_s >= rest_s

    @contextmanager
    def alone(self) -> Generator[bool]:
        """Whether, within, no other thread records, makes or measures anything: never waits."""
        is_alone = self._alone.acquire(blocking=False)
        try:
            yield is_alone
        finally:
            if is_alone:
                self._alone.release()


class Recorder:
    """Packs networks for a device that ``record`` records on. ``is_settled``: whether networks are
    as quick as they will be, as far as is known; before, larger pieces of work are not recorded."""

    def __init__(
        self, record: Record | None = None, pauses: Pauses | None = None,
        is_settled: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self._record = record
        self._pauses = pauses or Pauses()
        self.is_settled = is_settled

    def pack(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        """The network's function for inputs of these shapes."""
        return _Recorded(network, self._recording(), self._pauses)

    def pack_at_once(
        self,
        work: Callable[..., Any],
        network: Callable[..., Any] | None = None,
        agree: Agree | None = None,
    ) -> Callable[..., Any]:
        """The same of any work whose size is known to stay: recorded with its first call.

        ``network``: what ``work`` is to agree with, where that is something else; the first call
        raises RuntimeError where it does not, or cannot be recorded. ``agree``: None for values
        that differ by rounding.
        """
        plain, other = (work, None) if network is None else (network, work)
        return _Recorded(plain, self._recording(), self._pauses, 1, other, agree)

    def _recording(self) -> Record:
        # The first one makes a pool of memory, which all share: no two of them work at once.
        if self._record is None:
            self._record = record_on_cuda()
        return self._record


class _Recorded:
    """The plain network at first; recorded once its size has proved to stay."""

    def __init__(
        self,
        network: Callable[..., Any],
        record: Record,
        pauses: Pauses,
        worth_calls: int = WORTH_CALLS,
        work: Callable[..., Any] | None = None,
        agree: Agree | None = None,
    ) -> None:
        """``work``: what is recorded in the network's place."""
        self._network: Callable[..., Any] | None = network
        self._record, self._pauses, self._worth_calls = record, pauses, worth_calls
        self._work, self._must = (network, False) if work is None else (work, True)
        self._agree = agree or _agree
        self._calls = 0
        self._is_tried = False
        self._held: tuple[torch.Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None
        self._made: Any = None

    @property
    def other(self) -> Callable[..., Any] | None:
        """What is recorded in the network's place; None where that is the network itself."""
        return self._work if self._must else None

    def __call__(self, *inputs: torch.Tensor) -> Any:
        self._pauses.note_call()
        if self._replay is not None:
            for held, given in zip(self._held, inputs, strict=True):
                held.copy_(given)
            self._replay()
            return _copied(self._made)
        assert self._network is not None
        made = self._network(*inputs)
        self._calls += 1
        if self._calls >= self._worth_calls and not self._is_tried:
            with self._pauses.alone() as is_alone:
                if is_alone:
                    self._begin(inputs, made)
        return made

    def _begin(self, inputs: tuple[torch.Tensor, ...], expected: Any) -> None:
        """Record, and keep it if it gives what the plain network gave."""
        self._is_tried = True
        work, held = self._work, tuple(each.clone() for each in inputs)
        try:
            replay, made = self._record(lambda: work(*held))
            replay()
            agrees = self._agree(made, expected)
        except RuntimeError as error:
            if self._must or _ends_the_device(error):
                raise
            log.warning("the network's work cannot be recorded; it is started step by step",
                        exc_info=True)  # fmt: skip
            return
        if not agrees and self._must:
            raise RuntimeError("what was made for a network gives something else than it does")
        if not agrees:
            log.warning("recorded work differs from the plain network, which serves on")
            return
        self._held, self._replay, self._made = held, replay, made
        # What it was compared with goes; what was recorded stays, as kernels may lie in it.
        self._network = None


def quicker_work(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """What was made for a network and is recorded in its place, not recorded itself, so that it may
    be a part of something that is; None where the network is recorded as it is, or not yet known.

    ``function``: what a pack gave, also one that becomes quicker.
    """
    serving: Any = function
    while (inner := getattr(serving, "serving", None)) is not None:
        serving = inner
    return serving.other if isinstance(serving, _Recorded) else None


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
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # By default whatever another thread allocates fails meanwhile, and the recording with
            # it. Here only what this thread does counts: others' work is on streams of their own.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                made = work()
        finally:
            # Where the end of a recording fails, torch stays on the stream that it was made on.
            torch.cuda.set_stream(current)
        return graph.replay, made

    return record


def _ends_the_device(error: RuntimeError) -> bool:
    """As ``is_device_lost``, for which a void recording is an error of CUDA like any other."""
    return is_device_lost(error) and getattr(error, "error_code", None) not in _CAPTURE_ERRORS


def _copied(made: Any) -> Any:
    """The next replay, of any size, may write where these lie."""
    return made.clone() if isinstance(made, torch.Tensor) else tuple(each.clone() for each in made)


def any_quicker(functions: Iterable[Callable[..., Any]]) -> bool:
    """Whether anything was made in the place of what one of them runs."""
    return any(quicker_work(each) is not None for each in functions)


def _agree(made: Any, expected: Any) -> bool:
    return _differ_by(made, expected) <= _TOLERANCE


def _differ_by(made: Any, expected: Any) -> float:
    """The largest difference, as a part of the largest value; infinite where one is no number."""
    worst = 0.0
    for one, other in zip(tensors_of(made), tensors_of(expected), strict=True):
        size = float(other.float().abs().max())
        difference = float((one.float() - other.float()).abs().max()) / max(size, 1e-6)
        worst = max(worst, float("inf") if math.isnan(difference) else difference)
    return worst
