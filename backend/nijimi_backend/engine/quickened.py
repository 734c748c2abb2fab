"""A network enters; a function of it that becomes quicker while it is used leaves.

A painter never waits for it: packing by torch takes a second and more, making OpenVINO's function
some, and compiling for a graphics card a minute. What serves meanwhile is what there is, and when
the painter has paused long enough for the other one to be made, both are timed on the painter's own
frames; the quicker one stays and the other one goes.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from .attention import Attending, QuickAttention, native_attention
from .blocks import quick_blocks
from .compiled import CompiledPack
from .eight_bit import MUST_AGREE_DB, in_eight_bits, multiplies_bytes
from .frozen import WORTH_CALLS, can_freeze, frozen, is_large, packed_of, traced
from .native.provider import Native
from .openvino_net import MUST_GAIN, has_openvino, openvino_function
from .packed import Forward, Instead, LargePack, Layer, turns_weights
from .recorded import Pauses, Recorder

__all__ = [
    "LEAST_TIMED",
    "QUICKENING_THREAD",
    "TRIAL_CALLS",
    "QuickPack",
    "Quickened",
    "Quickener",
]

log = logging.getLogger(__name__)

TRIAL_CALLS = 6

LEAST_TIMED = 4
"""Calls of the plain function, just before another is made: by then it is recorded, where it is."""

REST_S = 0.7
"""Making it takes all cores for some seconds: begun once nothing was rendered for so long."""
_LOOK_S = 0.1
QUICKENING_THREAD = "nijimi-quicken"

Maker = Callable[[bytes, tuple[torch.Tensor, ...], int], Callable[..., Any]]


class Quickened:
    """Called from one thread only; ``begin`` has the other function made by a thread of its own,
    which gives it to ``ready``.

    ``clock``: seconds; where the device works by itself it waits for that first. It is read only
    while something is timed, and nothing is timed while ``pauses`` have somebody else alone.
    ``by``: who made the other one.
    """

    def __init__(
        self,
        plain: Callable[..., Any],
        begin: Callable[[Quickened], None],
        clock: Callable[[], float],
        pauses: Pauses,
        by: str = "OpenVINO",
    ) -> None:
        self._plain, self._clock, self._pauses, self._by = plain, clock, pauses, by
        self._begin: Callable[[Quickened], None] | None = begin
        self._calls, self._timed = 0, 0
        self._best_s = float("inf")
        self._tries = 0
        self._tried_best_s = float("inf")
        # No bound method is kept here: a circle would hold the networks until Python looks for it.
        self._candidate: Callable[..., Any] | None = None
        self._is_settled = False

    @property
    def is_settling(self) -> bool:
        """Whether another one is being made or tried."""
        return self._begin is None and not self._is_settled

    @property
    def serving(self) -> Callable[..., Any]:
        """What is called where nothing is tried."""
        return self._plain

    def settle(self) -> None:
        """What there is stays."""
        self._candidate, self._is_settled = None, True

    def __call__(self, *inputs: torch.Tensor) -> Any:
        self._pauses.note_call()
        candidate = self._candidate
        if self._begin is None and candidate is None:
            return self._plain(*inputs)
        with self._pauses.alone() as is_alone:
            if not is_alone:
                self._calls, self._timed = self._calls + 1, 0
                return self._plain(*inputs)
            if candidate is None:
                return self._settling(*inputs)
            return self._trying(candidate, *inputs)

    def ready(self, candidate: Callable[..., Any]) -> None:
        """Told by the thread that made it."""
        self._candidate = candidate

    def _settling(self, *inputs: torch.Tensor) -> Any:
        """Torch's function, timed before another is made of it."""
        began = self._clock()
        result = self._plain(*inputs)
        self._best_s = min(self._best_s, self._clock() - began)
        self._calls, self._timed = self._calls + 1, self._timed + 1
        is_worth_it = self._calls >= WORTH_CALLS and self._timed >= LEAST_TIMED
        if is_worth_it and self._begin is not None:
            self._begin(self)
            # It holds the trace, which is as large as the network.
            self._begin = None
        return result

    def _trying(self, candidate: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        """The other function, until it is known which is quicker."""
        began = self._clock()
        try:
            result = candidate(*inputs)
        except (RuntimeError, TypeError, ValueError):
            log.warning("a quicker function failed; torch's stays", exc_info=True)
            self.settle()
            return self._plain(*inputs)
        self._tries += 1
        if self._tries > 1:
            # The first call allocates.
            self._tried_best_s = min(self._tried_best_s, self._clock() - began)
        if self._tries == TRIAL_CALLS:
            self._decide(candidate)
        return result

    def _decide(self, candidate: Callable[..., Any]) -> None:
        before, after = 1000 * self._best_s, 1000 * self._tried_best_s
        gains = self._tried_best_s <= MUST_GAIN * self._best_s
        log.info("%.1f ms as it was, %.1f ms by %s, which %s", before, after, self._by,
                 "stays" if gains else "goes")  # fmt: skip
        # The other one goes, and its weights with it.
        self._plain = candidate if gains else self._plain
        self.settle()


class Quickener:
    """Makes quicker functions, one at a time: two would slow the painter down twice.

    ``make``: what is quicker than a function packed by torch, as far as it is known; None where
    there is nothing. ``clock`` and ``by``: as for ``Quickened``.
    """

    def __init__(
        self,
        make: Maker | None = openvino_function,
        clock: Callable[[], float] = time.perf_counter,
        rest_s: float = REST_S,
        pauses: Pauses | None = None,
        by: str = "OpenVINO",
    ) -> None:
        self._make, self._clock, self._rest_s = make, clock, rest_s
        self._pauses, self._by = pauses or Pauses(), by
        self._is_patient = False
        self._frames = threading.RLock()
        self._given: weakref.WeakSet[Quickened] = weakref.WeakSet()

    @property
    def is_settled(self) -> bool:
        """Whether nothing that is still in use is being made or tried."""
        return not any(each.is_settling for each in list(self._given))

    def wait_for_pauses(self) -> None:
        """From now on somebody paints: nothing is packed while a frame is waited for."""
        self._is_patient = True

    def at_work(self) -> AbstractContextManager[Any]:
        """Around each frame: networks are set up for it, so none is traced meanwhile."""
        return self._frames

    def pack(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        """As ``frozen``; what can be packed becomes quicker later, where that is possible.

        A network whose ``is_current`` is False then, as the UNet was set up for something else,
        waits until it is set up for this again.
        """
        if not self._is_patient:
            return frozen(network, inputs, then=self.quickened if self._make else None)
        if not can_freeze(network, inputs):
            return network
        return self.later(network, lambda: self._quickest(network, inputs, torch.get_num_threads()))

    def quickened(
        self, plain: Callable[..., Any], traced: bytes, examples: tuple[torch.Tensor, ...]
    ) -> Quickened:
        """``plain`` until the other one, made of its trace, is there."""
        make, threads = self._make, torch.get_num_threads()
        assert make is not None, "there is nothing that could be quicker"
        return self.later(plain, lambda: make(traced, examples, threads))

    def later(
        self, plain: Callable[..., Any], make: Callable[[], Callable[..., Any] | None]
    ) -> Quickened:
        """``plain`` until what ``make`` gives in a thread of its own has proved to be quicker.

        None stands for not now: it is asked again.
        """

        def begin(wish: Quickened) -> None:
            # A size that is not painted any more is not kept alive by what is made for it.
            # Not a daemon: one that is cut off inside of OpenVINO takes the process down with it.
            # The process's end waits for what is being made, and for no more.
            args = (weakref.ref(wish), make)
            threading.Thread(target=self._work, args=args, name=QUICKENING_THREAD).start()

        quickened = Quickened(plain, begin, self._clock, self._pauses, self._by)
        self._given.add(quickened)
        return quickened

    def _quickest(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], threads: int
    ) -> Callable[..., Any] | None:
        """Packed by torch or made of that, whichever takes less; both are tried here. None: not
        now."""
        if not self._frames.acquire(blocking=False):
            return None
        try:
            if not getattr(network, "is_current", True):
                return None
            trace = traced(network, inputs)
        finally:
            self._frames.release()
        made = [packed_of(trace)]
        if self._make is not None:
            try:
                made.append(self._make(trace.saved, trace.examples, threads))
            except Exception:
                # The edge of a thread, as in ``_make_now``; what torch has packed is there.
                log.warning("OpenVINO cannot take this network", exc_info=True)
        return min(made, key=lambda each: _time_s(each, trace.examples))

    def _work(
        self, asked: weakref.ref[Quickened], make: Callable[[], Callable[..., Any] | None]
    ) -> None:
        while threading.main_thread().is_alive() and asked() is not None:
            if self._pauses.have_lasted(self._rest_s):
                with self._pauses.alone() as is_alone:
                    if is_alone and self._make_now(asked, make):
                        return
            time.sleep(_LOOK_S)

    def _make_now(
        self, asked: weakref.ref[Quickened], make: Callable[[], Callable[..., Any] | None]
    ) -> bool:
        """Whether that is over and done with."""
        try:
            made = make()
        except Exception:
            # The edge of a thread: torch's function serves on.
            log.warning("no quicker function of this network; torch's stays", exc_info=True)
            if (waiting := asked()) is not None:
                waiting.settle()
            return True
        if made is not None and (waiting := asked()) is not None:
            waiting.ready(made)
        return made is not None


class QuickPack:
    """How networks are packed where frames follow each other: on a graphics card recorded, and
    compiled in pauses; on a CPU small ones are made quicker in pauses, by OpenVINO where that is
    installed; large ones' weights are turned once, and their attention is another's kernel where
    that is quicker. For one thread only.

    ``may_hold_twice``: not where a painter bounds the memory that networks take; large networks'
    weights stay as they are then. ``eight_bit``: their products are of eight bits, where the
    processor multiplies those faster and pictures stay near. ``pauses``: one for all models of a
    process, as one may still be compiled for while another one paints. ``native``: functions in C
    for large networks, which are built from their first call on.
    """

    def __init__(
        self, may_hold_twice: bool = True, eight_bit: bool = False, pauses: Pauses | None = None,
        native: Native | None = None,
    ) -> None:  # fmt: skip
        pauses = pauses or Pauses()
        self._quickener = Quickener(openvino_function if has_openvino() else None, pauses=pauses)
        self._native = native = native or Native()
        self._attention: QuickAttention | None = None
        if native.is_of_use:
            self._attention = native_attention(native)
        elif has_openvino():
            self._attention = QuickAttention()
        compiler = Quickener(None, _card_clock, pauses=pauses, by="torch.compile")
        self._recorder = Recorder(pauses=pauses, is_settled=lambda: compiler.is_settled)
        self._card = CompiledPack(self._recorder, compiler.later)

        def more(network: torch.nn.Module) -> Iterable[Instead]:
            return quick_blocks(network, native.kernels)

        def rounded(shapes: dict[Layer, torch.Size]) -> dict[Layer, Forward]:
            return in_eight_bits(shapes, native.kernels)

        self._large = LargePack(more=more) if may_hold_twice else None
        rounds = may_hold_twice and eight_bit
        self._eight_bit = LargePack(None, rounded, MUST_AGREE_DB, more) if rounds else None

    def __call__(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        first = inputs[0]
        rounds = self._eight_bit is not None and multiplies_bytes(first.device, first.dtype)
        if (rounds or turns_weights(first.device, first.dtype)) and is_large(network):
            self._native.begin()
            large = self._eight_bit if rounds else self._large
            function = network if large is None else large.pack(network)
            return function if self._attention is None else Attending(function, self._attention)
        by = self._card if first.is_cuda else self._quickener
        return by.pack(network, inputs)

    @property
    def recorder(self) -> Recorder:
        """What records on a graphics card; all of it shares one pool of memory."""
        return self._recorder

    def at_work(self) -> AbstractContextManager[Any]:
        """As ``Quickener.at_work``."""
        return self._quickener.at_work()

    def wait_for_pauses(self) -> None:
        """Once the model is warm: a painter waits for frames, and packs nothing meanwhile."""
        self._quickener.wait_for_pauses()


def _card_clock() -> float:
    """Seconds, once the card has done all that it was given."""
    torch.cuda.current_stream().synchronize()
    return time.perf_counter()


def _time_s(function: Callable[..., Any], examples: tuple[torch.Tensor, ...]) -> float:
    """The shortest of some calls."""
    times_s: list[float] = []
    with torch.inference_mode():
        for _ in range(4):
            began = time.perf_counter()
            function(*examples)
            times_s.append(time.perf_counter() - began)
    return min(times_s)
