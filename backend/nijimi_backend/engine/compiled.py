"""A network on a graphics card and example inputs enter; the same function, compiled by torch,
leaves.

torch.compile (Ansel et al., PyTorch 2, ASPLOS 2024) joins what a UNet computes between its products
into kernels made for it: group norm with SiLU, biases and residuals with what comes before them;
for the products it takes the quickest of several kernels. That takes a minute and more, so it is
done in a thread of its own while the network serves as it is (``quickened``); torch keeps what it
made on disk (its own place below the system's temporary folder, or TORCHINDUCTOR_CACHE_DIR), so
that the next start takes seconds.

What was found of threads, in torch 2.13:

- One compiles at a time: torch._dynamo's ``compile_lock`` is held all the while. A compiled
  function whose guards fail waits for it, and then compiles anew, in whatever thread it is called.
  So what is made here never compiles again: where its guards fail it raises.
- Settings that are patched are the thread's own, and so are inference mode and the modes in which
  torch traces. But while torch.fx traces it wraps every module's call in the process, and another
  thread's raised NameError there, in one compilation of seven: ``_traced_alone`` keeps them apart.
  With that, others may run networks meanwhile, this one too.
- Hooks and parts that others put in or take out would be traced: ``own_modules`` are compiled.
- Tracing is Python, and whoever else wants to run waits for Python's lock, 5 ms each time by
  default: 400 small operations took 1300 ms beside it, and 2 ms with the interval that is set here.
- torch's global generators are put back to where they were when it began.

Weights are read where they lie (Inductor's ``freezing`` is off), so adapters may change them in
place. Written without a card at hand: on the CPU the same code is tested with torch's C++ kernels.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch.fx import Tracer

from ..models.headers import first_line
from .recorded import Recorder

__all__ = [
    "LEAST_FREE_BYTES",
    "CompiledPack",
    "can_compile",
    "compiled_function",
    "own_modules",
]

_MODE = "max-autotune-no-cudagraphs"
"""Recorded work is ours (``recorded``): torch's own would take its own place in memory."""

_WARM_CALLS = 3
"""The first one compiles, and kernels are chosen in it or the next."""

_LEAST_CAPABILITY = (7, 0)
"""Triton's, as torch/_inductor/scheduler.py asks."""

LEAST_FREE_BYTES = 3 << 30
"""Kernels are tried on memory of their own, beside a second set of what flows through the network.
An estimate."""

_SWITCH_S = 0.0005
"""After so long a thread that computes gives Python's lock to one that waits for it."""

Function = Callable[..., Any]

Later = Callable[[Function, Callable[[], Function]], Function]
"""What serves now, and what makes another one, in; what becomes the quicker of both, out."""


class CompiledPack:
    """How networks are packed on a graphics card: recorded as they are, and later compiled by torch
    and recorded anew, where that proves quicker. For one thread only.

    A network whose ``is_pure`` is False, as it listens to what is no input, is not compiled: that
    may be another picture's when the thread reads it, and the thread may change it, too.
    """

    def __init__(
        self,
        recorder: Recorder,
        later: Later,
        compile: Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], Function] | None = None,
        can: Callable[[torch.device], bool] | None = None,
    ) -> None:
        self._recorder, self._later = recorder, later
        self._compile, self._can = compile or compiled_function, can or can_compile
        self._has_compiled: bool | None = None

    def pack(self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Function:
        """As ``Pack``."""
        plain, device = self._recorder.pack(network, inputs), inputs[0].device
        is_pure: bool = getattr(network, "is_pure", True)
        # Where the first one could not be compiled, say for want of a C compiler, none can.
        if self._has_compiled is False or not (is_pure and self._can(device)):
            return plain
        own = own_modules(network)

        def make() -> Function:
            if self._has_compiled is False or not self._can(device):
                raise RuntimeError("nothing more is compiled: it failed, or memory is short by now")
            try:
                compiled = self._compile(own, inputs)
            except RuntimeError:
                self._has_compiled = self._has_compiled or False
                raise
            self._has_compiled = True
            return self._recorder.pack_at_once(compiled, own)

        return self._later(plain, make)


def can_compile(device: torch.device) -> bool:
    """Whether it can pay on this device, a tensor's, as it is now."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return False
    return _free_bytes(device) >= LEAST_FREE_BYTES


def compiled_function(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Function:
    """Compile ``network`` for inputs of these shapes, in this thread, until it is warm.

    It is called as the engine calls it, in inference mode, and on a card on a stream of its own.
    Where torch cannot trace a part of it, that part stays as it is. The function raises
    RuntimeError for inputs that it was not compiled for; this one where torch cannot compile it at
    all: without Triton (TritonMissing), without a C compiler (InvalidCxxCompiler), or for what its
    backend fails at (BackendCompilerFailed, InductorError); the cause tells which.
    """
    # Its types do not know of all that it takes.
    torch_compile: Any = torch.compile
    compiled = torch_compile(_call_of(network), dynamic=False, mode=_MODE, isolate_recompiles=True)
    settings: Any = importlib.import_module("torch._dynamo.config")

    def run(*given: torch.Tensor) -> Any:
        with settings.patch(error_on_recompile=True):
            return compiled(*given)

    apart = (_giving_way(), _traced_alone(), _few_helpers(), torch.inference_mode())
    with ExitStack() as stack:
        for each in (*apart, _own_stream(inputs[0].device)):
            stack.enter_context(each)
        # Recorded work reads copies, too: what is laid out otherwise is compiled for otherwise.
        copies = tuple(each.clone() for each in inputs)
        try:
            compiled(*copies)
            for _ in range(_WARM_CALLS - 1):
                run(*copies)
        except Exception as error:
            # Triton's errors, a C compiler's and torch's have nothing else in common.
            told = f"{type(error).__name__}: {first_line(error)}"
            raise RuntimeError(f"torch cannot compile this network ({told})") from error
    return run


def own_modules(network: torch.nn.Module) -> torch.nn.Module:
    """The same network as modules of its own, which share its weights.

    Hooks are those of now, and what is put into the network later is not in it. As torch's
    ``Module._replicate_for_data_parallel``, for all modules within; what is neither a module nor
    torch's part of one is shared.
    """
    return _own(network, frozenset(vars(torch.nn.Module())), {})


def _own(
    module: torch.nn.Module, parts: frozenset[str], known: dict[int, torch.nn.Module]
) -> torch.nn.Module:
    """``known``: those that were met before, which stand in several places."""
    if id(module) in known:
        return known[id(module)]
    own = known[id(module)] = module.__new__(type(module))
    for name, value in vars(module).items():
        is_part = name in parts and isinstance(value, (dict, set))
        own.__dict__[name] = value.copy() if is_part else value
    inner: dict[str, torch.nn.Module | None] = own.__dict__["_modules"]
    for name, child in inner.items():
        inner[name] = None if child is None else _own(child, parts, known)
    return own


def _call_of(network: torch.nn.Module) -> Function:
    """Of its own code: what torch compiles stays with that and goes with it, 256 times at most."""

    def call(*inputs: torch.Tensor) -> Any:
        return network(*inputs)

    return FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


@contextmanager
def _giving_way() -> Generator[None]:
    """Within, whoever else wants to run Python may soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _traced_alone() -> Generator[None]:
    """Within, what torch.fx traces is what this thread calls (torch/fx/_symbolic_trace.py,
    ``Tracer.trace``)."""
    tracer: Any = Tracer
    ours, call_module, read = threading.get_ident(), tracer.call_module, tracer.getattr

    def call(self: Any, module: Any, forward: Function, args: Any, kwargs: Any) -> Any:
        if threading.get_ident() == ours:
            return call_module(self, module, forward, args, kwargs)
        return forward(*args, **kwargs)

    def got(self: Any, name: str, value: Any, known: Any) -> Any:
        return read(self, name, value, known) if threading.get_ident() == ours else value

    tracer.call_module, tracer.getattr = call, got
    try:
        yield
    finally:
        tracer.call_module, tracer.getattr = call_module, read


@contextmanager
def _few_helpers() -> Generator[None]:
    """Within, no more than half of the processor compiles kernels, and which one was chosen is not
    told on standard error. Both are this thread's own, but for the second, which nobody else asks.
    """
    settings: Any = importlib.import_module("torch._inductor.config")
    choice: Any = importlib.import_module("torch._inductor.select_algorithm")
    most = max(1, (os.cpu_count() or 1) // 2)
    told, choice.PRINT_AUTOTUNE = choice.PRINT_AUTOTUNE, False
    try:
        with settings.patch(compile_threads=min(most, settings.compile_threads or most)):
            yield
    finally:
        choice.PRINT_AUTOTUNE = told


@contextmanager
def _own_stream(device: torch.device) -> Generator[None]:
    """Within, work is given to a stream of its own; afterwards it is done, and its memory free."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            stream.synchronize()
            # What was kept for this stream is of no use to any other.
            torch.cuda.empty_cache()


def _free_bytes(device: torch.device) -> int:
    """What torch may still take of the card's memory."""
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    return min(free, int(share * total) - torch.cuda.memory_reserved(device))
