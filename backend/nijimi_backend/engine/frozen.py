"""A network and example inputs enter; the same function with its weights packed leaves.

On a CPU an eager convolution repacks its weights for oneDNN at every call, which costs a small
UNet more than the arithmetic: nijimi-mini's forward took 37 ms eager and 23 ms frozen on two Ice
Lake cores. Tracing fixes the shapes, so there is one frozen function a shape; the weights are
held twice, so large networks stay eager.
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..models.device import MAX_FROZEN_PARAMETERS

__all__ = [
    "UNTRACEABLE",
    "WORTH_CALLS",
    "Pack",
    "Trace",
    "as_it_is",
    "can_freeze",
    "frozen",
    "is_large",
    "packed_of",
    "tensors_of",
    "traced",
    "warm_up_steps",
    "warms_up",
]

log = logging.getLogger(__name__)

Pack = Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], Callable[..., Any]]
"""How a network becomes a function for inputs of these shapes."""

WORTH_CALLS = 12
"""So many calls for one size show that it will stay: three frames of four steps."""

UNTRACEABLE = (RuntimeError, TypeError, ValueError)
"""What torch raises where a network cannot be traced or packed."""

Then = Callable[[Callable[..., Any], bytes, tuple[torch.Tensor, ...]], Callable[..., Any]]


def frozen(
    network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], then: Then | None = None
) -> Callable[..., Any]:
    """A traced, frozen copy for inputs of these shapes; the network itself where that cannot be.

    ``network`` takes tensors and gives a tensor or a tuple of them. ``then`` makes something else
    of the copy, the saved trace that it came from, and inputs to try it with.
    """
    if not can_freeze(network, inputs):
        return network
    try:
        trace = traced(network, inputs)
        packed = packed_of(trace)
    except UNTRACEABLE:
        log.warning("%s cannot be frozen; it stays eager", type(network).__name__, exc_info=True)
        return network
    return packed if then is None else then(packed, trace.saved, trace.examples)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A network's function for inputs like ``examples``; ``saved``: as torch saves it, weights
    included."""

    saved: bytes
    examples: tuple[torch.Tensor, ...]


def traced(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Trace:
    """The network as it is now, and as what it listens to beside its inputs is set up.

    Raises one of ``UNTRACEABLE``.
    """
    # Inference tensors cannot be traced: the examples are copied outside of that mode.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = tuple(x.clone() for x in inputs)
        hidden = network if _takes_gradients(network) else _Hidden(network).eval()
        function = torch.jit.trace(hidden, examples, check_trace=False)
        # What is traced stays with the process for ever, and so would the weights that are
        # frozen into it. A loaded copy has a home of its own, which goes with it.
        saved = io.BytesIO()
        torch.jit.save(function, saved)
        del function
        _forget_traces()
    return Trace(saved=saved.getvalue(), examples=examples)


class _Hidden(torch.nn.Module):
    """A network whose weights are constants of what is traced. TorchScript looks into every module
    that it knows of, which takes longer than all else: 0.74 s of nijimi-mini's UNet, so 0.45.

    A function in its place would stay with the process: 13 MB a trace.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self._network = (network,)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self._network[0](*inputs)


def _takes_gradients(network: torch.nn.Module) -> bool:
    """Such weights cannot be constants."""
    return any(each.requires_grad for each in network.parameters())


def packed_of(trace: Trace) -> Callable[..., Any]:
    """The same function with its weights packed; the network itself may be another by now.

    Raises one of ``UNTRACEABLE``.
    """
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed: Any = torch.jit.freeze(torch.jit.load(io.BytesIO(trace.saved)).eval())
        # The first calls specialise the graph; they must not fall into a painter's frame.
        for _ in range(2):
            packed(*trace.examples)
    return packed


def tensors_of(made: Any) -> tuple[torch.Tensor, ...]:
    """What a network gives: one tensor or several."""
    return (made,) if isinstance(made, torch.Tensor) else tuple(made)


def as_it_is(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Callable[..., Any]:
    """As ``Pack``: not packed."""
    return network


def can_freeze(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> bool:
    """Whether it is worth trying: small, on the CPU, in float32."""
    first = inputs[0]
    plain = first.device.type == "cpu" and first.dtype == torch.float32
    return plain and not is_large(network)


def is_large(network: Any) -> bool:
    """Whether holding its weights twice would cost too much."""
    return sum(p.numel() for p in network.parameters()) > MAX_FROZEN_PARAMETERS


def warms_up(network: Any, *, on_gpu: bool) -> bool:
    """Whether its first call costs more than the later ones: on a GPU kernels are chosen then, on a
    CPU a small network is packed. A large one there is not: SD1.5's first frame took 27.8 s on a
    slow machine and the second one 29.3, so that a frame unseen would only be waited for."""
    return on_gpu or not is_large(network)


def warm_up_steps(network: Any, pack: Pack, *, on_gpu: bool) -> int:
    """Of the picture that nobody sees; 0: none. Where a quicker function is made once a size has
    stayed, so many that it is begun now, not in the painter's first pause."""
    if not warms_up(network, on_gpu=on_gpu):
        return 0
    return 1 if on_gpu or pack is frozen else WORTH_CALLS


def _forget_traces() -> None:
    """Drop the graphs that tracing left in the process: 30 MB of a UNet, at every new shape.

    torch's own tests do it so; there is no public way. Nothing else here is traced or scripted
    and used in place, so nothing that lives is dropped.
    """
    try:
        torch._C._jit_clear_class_registry()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        recursive: Any = importlib.import_module("torch.jit._recursive")
        recursive.concrete_type_store = recursive.ConcreteTypeStore()
        state: Any = importlib.import_module("torch.jit._state")
        state._clear_class_state()
    except (AttributeError, ImportError):
        log.warning("this torch keeps what was traced: memory grows a little with each new size")
