"""A network enters; a function of it that becomes quicker while it is used leaves.

A painter never waits for it: packing by torch takes a second and more, and making OpenVINO's
function some. What serves meanwhile is what there is, and when the painter has paused long enough
for the other one to be made, both are timed on the painter's own frames; the quicker one stays and
the other one goes.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch

from .attention import Attending, QuickAttention
from .eight_bit import MUST_AGREE_DB, in_eight_bits, multiplies_bytes
from .frozen import WORTH_CALLS, can_freeze, frozen, is_large
from .openvino_net import MUST_GAIN, has_openvino, openvino_function
from .packed import LargePack, turns_weights
from .recorded import Recorder

__all__ = [
    "QUICKENING_THREAD",
    "TRIAL_CALLS",
    "QuickPack",
    "Quickened",
    "Quickener",
]

log = logging.getLogger(__name__)

TRIAL_CALLS = 6

REST_S = 0.7
"""Making it takes all cores for some seconds: begun once nothing was rendered for so long."""
_LOOK_S = 0.1
QUICKENING_THREAD = "nijimi-quicken"

Maker = Callable[[bytes, tuple[torch.Tensor, ...], int], Callable[..., Any]]


class Quickened:
    """Called from one thread only; ``begin`` has the other function made by a thread of its own,
    which gives it to ``ready``."""

    def __init__(
        self,
        plain: Callable[..., Any],
        begin: Callable[[Quickened], None],
        clock: Callable[[], float],
    ) -> None:
        self._plain, self._clock = plain, clock
        self._begin: Callable[[Quickened], None] | None = begin
        self._calls = 0
        self._best_s = float("inf")
        self._tries = 0
        self._tried_best_s = float("inf")
        self._candidate: Callable[..., Any] | None = None
        # No bound method is kept here: a circle would hold the networks until Python looks for it.
        self._is_decided = False
        self.called_s = time.monotonic()
        """When it was called last."""

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self._is_decided:
            return self._plain(*inputs)
        self.called_s = time.monotonic()
        return self._settling(*inputs) if self._candidate is None else self._trying(*inputs)

    def ready(self, candidate: Callable[..., Any]) -> None:
        """Told by the thread that made it."""
        self._candidate = candidate

    def _settling(self, *inputs: torch.Tensor) -> Any:
        """Torch's function, timed until there is another."""
        began = self._clock()
        result = self._plain(*inputs)
        self._calls += 1
        if self._calls <= WORTH_CALLS:
            # Later calls share the processor with the making of the other one.
            self._best_s = min(self._best_s, self._clock() - began)
        if self._calls >= WORTH_CALLS and self._begin is not None:
            self._begin(self)
            # It holds the trace, which is as large as the network.
            self._begin = None
        return result

    def _trying(self, *inputs: torch.Tensor) -> Any:
        """The other function, until it is known which is quicker."""
        assert self._candidate is not None
        began = self._clock()
        try:
            result = self._candidate(*inputs)
        except (RuntimeError, TypeError, ValueError):
            log.warning("a quicker function failed; torch's stays", exc_info=True)
            self._is_decided, self._candidate = True, None
            return self._plain(*inputs)
        self._tries += 1
        if self._tries > 1:
            # The first call allocates.
            self._tried_best_s = min(self._tried_best_s, self._clock() - began)
        if self._tries == TRIAL_CALLS:
            self._decide()
        return result

    def _decide(self) -> None:
        assert self._candidate is not None
        before, after = 1000 * self._best_s, 1000 * self._tried_best_s
        gains = self._tried_best_s <= MUST_GAIN * self._best_s
        log.info("%.1f ms packed, %.1f ms by OpenVINO, which %s", before, after,
                 "stays" if gains else "goes")  # fmt: skip
        # The other one goes, and its weights with it.
        self._plain = self._candidate if gains else self._plain
        self._is_decided, self._candidate = True, None


class Quickener:
    """Makes quicker functions, one at a time: two would slow the painter down twice.

    ``make``: what is quicker than a function packed by torch, as far as it is known; None where
    there is nothing.
    """

    def __init__(
        self,
        make: Maker | None = openvino_function,
        clock: Callable[[], float] = time.perf_counter,
        rest_s: float = REST_S,
    ) -> None:
        self._make, self._clock, self._rest_s = make, clock, rest_s
        self._making = threading.Lock()
        self._is_patient = False

    def wait_for_pauses(self) -> None:
        """From now on somebody paints: nothing is packed while a frame is waited for."""
        self._is_patient = True

    def pack(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        """As ``frozen``; what can be packed becomes quicker later, where that is possible."""
        if not self._is_patient:
            return frozen(network, inputs, then=self.quickened if self._make else None)
        if not can_freeze(network, inputs):
            return network
        return self._later(
            network, lambda: self._quickest(network, inputs, torch.get_num_threads())
        )

    def quickened(
        self, plain: Callable[..., Any], traced: bytes, examples: tuple[torch.Tensor, ...]
    ) -> Quickened:
        """``plain`` until the other one, made of its trace, is there."""
        make, threads = self._make, torch.get_num_threads()
        assert make is not None, "there is nothing that could be quicker"
        return self._later(plain, lambda: make(traced, examples, threads))

    def _later(
        self, plain: Callable[..., Any], make: Callable[[], Callable[..., Any]]
    ) -> Quickened:
        def begin(wish: Quickened) -> None:
            # A size that is not painted any more is not kept alive by what is made for it.
            # Not a daemon: one that is cut off inside of OpenVINO takes the process down with it.
            # The process's end waits for what is being made, some seconds, and for no more.
            args = (weakref.ref(wish), make)
            threading.Thread(target=self._work, args=args, name=QUICKENING_THREAD).start()

        return Quickened(plain, begin, self._clock)

    def _quickest(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], threads: int
    ) -> Callable[..., Any]:
        """Packed by torch or made of that, whichever takes less; both are tried here."""
        made: list[Callable[..., Any]] = []

        def then(
            packed: Callable[..., Any], traced: bytes, examples: tuple[torch.Tensor, ...]
        ) -> Callable[..., Any]:
            made.append(packed)
            if self._make is not None:
                try:
                    made.append(self._make(traced, examples, threads))
                except Exception:
                    # The edge of a thread, as in ``_work``; what torch has packed is there.
                    log.warning("OpenVINO cannot take this network", exc_info=True)
            return min(made, key=lambda each: _time_s(each, examples))

        return frozen(network, inputs, then=then)

    def _work(self, asked: weakref.ref[Quickened], make: Callable[[], Callable[..., Any]]) -> None:
        with self._making:
            if not self._rests(asked):
                return
            try:
                made = make()
            except Exception:
                # The edge of a thread: torch's function serves on.
                log.warning("OpenVINO cannot take this network; torch's stays", exc_info=True)
                return
        if (waiting := asked()) is not None:
            waiting.ready(made)

    def _rests(self, asked: weakref.ref[Quickened]) -> bool:
        """Wait until the painter pauses; False where it is not wanted any more."""
        while threading.main_thread().is_alive() and (wish := asked()) is not None:
            if time.monotonic() - wish.called_s >= self._rest_s:
                return True
            # Not kept alive by us.
            del wish
            time.sleep(_LOOK_S)
        return False


class QuickPack:
    """How networks are packed where frames follow each other: recorded on a graphics card; on a CPU
    small ones are made quicker in pauses, by OpenVINO where that is installed; large ones' weights
    are turned once, and their attention is OpenVINO's where that is quicker. For one thread only.

    ``may_hold_twice``: not where a painter bounds the memory that networks take; large networks'
    weights stay as they are then. ``eight_bit``: their products are of eight bits, where the
    processor multiplies those faster and pictures stay near.
    """

    def __init__(self, may_hold_twice: bool = True, eight_bit: bool = False) -> None:
        self._quickener = Quickener(openvino_function if has_openvino() else None)
        self._attention = QuickAttention() if has_openvino() else None
        self._recorder = Recorder()
        self._large = LargePack() if may_hold_twice else None
        rounds = may_hold_twice and eight_bit
        self._eight_bit = LargePack(None, in_eight_bits, MUST_AGREE_DB) if rounds else None

    def __call__(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        first = inputs[0]
        rounds = self._eight_bit is not None and multiplies_bytes(first.device, first.dtype)
        if (rounds or turns_weights(first.device, first.dtype)) and is_large(network):
            large = self._eight_bit if rounds else self._large
            function = network if large is None else large.pack(network)
            return function if self._attention is None else Attending(function, self._attention)
        by = self._recorder if first.is_cuda else self._quickener
        return by.pack(network, inputs)

    @property
    def recorder(self) -> Recorder:
        """What records on a graphics card; all of it shares one pool of memory."""
        return self._recorder

    def wait_for_pauses(self) -> None:
        """Once the model is warm: a painter waits for frames, and packs nothing meanwhile."""
        self._quickener.wait_for_pauses()


def _time_s(function: Callable[..., Any], examples: tuple[torch.Tensor, ...]) -> float:
    """The shortest of some calls."""
    times_s: list[float] = []
    with torch.inference_mode():
        for _ in range(4):
            began = time.perf_counter()
            function(*examples)
            times_s.append(time.perf_counter() - began)
    return min(times_s)
