"""A large network in bfloat16 enters; a function of it with weights as oneDNN reads them leaves.

torch hands oneDNN each convolution's weights as they are, and oneDNN turns them round at every
call: 100 ms of the 1,007 that SD1.5's UNet takes at 512 px on two cores with AMX; what multiplies
rows by ready weights is quicker by a quarter, too (849 ms with both). On two Zen 4 cores both gain
5 to 9 %. The network itself stays as it is, so that adapters can be laid on it, and the turned
weights are held beside it; so it is done only where memory is plenty.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import psutil
import torch

from .frozen import tensors_of

__all__ = [
    "WORTH_CALLS",
    "Forward",
    "Instead",
    "LargePack",
    "Layer",
    "More",
    "PackedFunction",
    "PackedWeights",
    "Turn",
    "computes_plainly",
    "turned",
    "turned_layers",
    "turns_weights",
]

log = logging.getLogger(__name__)

WORTH_CALLS = 4
"""Turning all weights takes a fifth of a call; sliders may change them at every frame."""

LEAVES_FREE = 0.25
"""Of the machine's memory, after the weights are held twice."""

Layer = torch.nn.Conv2d | torch.nn.Linear
Forward = Callable[[torch.Tensor], torch.Tensor]

Turn = Callable[[dict[Layer, torch.Size]], dict[Layer, Forward]]
"""Layers, and the shape of what each reads, in; how those that gain by it compute from now on."""


class Instead(NamedTuple):
    """Another function in place of a module's own of that name."""

    module: torch.nn.Module
    name: str
    function: Callable[..., Any]


More = Callable[[torch.nn.Module], Iterable[Instead]]
"""A network in; what else of it computes in another way meanwhile."""

_Asked = Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], "tuple[Any, PackedWeights | None]"]


def turns_weights(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether it pays: bfloat16 on a CPU that multiplies it (in float32 it was not measured)."""
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    has_amx: bool = torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    has_avx: bool = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return (has_amx or has_avx) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class PackedWeights:
    """One network's turned weights as they are now, for pictures of any size: how each of its
    layers computes by them, and what else of it computes in another way then."""

    def __init__(self, forwards: dict[Layer, Forward], more: Iterable[Instead] = ()) -> None:
        self._others = [
            *(Instead(layer, "forward", forward) for layer, forward in forwards.items()), *more,
        ]  # fmt: skip

    @contextmanager
    def used(self) -> Generator[None]:
        """Within, the layers compute by them."""
        try:
            for module, name, function in self._others:
                module.__dict__[name] = function
            yield
        finally:
            for module, name, _ in self._others:
                module.__dict__.pop(name, None)


class LargePack:
    """Gives large networks their functions; those of one network share its turned weights, which
    go with the last of them. Who changes a network's weights drops its functions.

    ``turn``: how. ``more``: what else is computed in another way then. ``must_agree_db``: where
    the outputs with turned weights are less near to the network's own, its weights stay as they
    are; None where nothing is rounded.
    """

    def __init__(
        self, may_take: Callable[[int], bool] | None = None, turn: Turn | None = None,
        must_agree_db: float | None = None, more: More | None = None,
    ) -> None:  # fmt: skip
        self._more = more or _no_more
        self._may_take = may_take or _leaves_enough
        self._turn = turn or turned_layers
        self._must_agree_db = must_agree_db
        self._known: weakref.WeakValueDictionary[int, PackedWeights] = weakref.WeakValueDictionary()

    def pack(self, network: torch.nn.Module) -> PackedFunction:
        """As ``Pack``."""
        return PackedFunction(network, self.turned)

    def turned(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[Any, PackedWeights | None]:
        """What the network gives, and its turned weights, where memory is plenty."""
        layers = _layers_of(network)
        size_bytes = sum(layer.weight.nbytes for layer in layers)
        # Known weights hold their layers: nothing else can have the number of the first one.
        known = self._known.get(id(layers[0])) if layers else None
        if known is not None:
            with known.used():
                return network(*inputs), known
        if not layers:
            return network(*inputs), None
        if not self._may_take(size_bytes):
            log.info("%d MB of weights stay as they are: memory is short", size_bytes >> 20)
            return network(*inputs), None
        shapes: dict[Layer, torch.Size] = {}
        hooks = [layer.register_forward_pre_hook(partial(_note, shapes)) for layer in layers]
        try:
            result = network(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        try:
            made = PackedWeights(self._turn(shapes), self._more(network))
            agrees = self._must_agree_db is None or self._agrees(made, network, inputs, result)
        except (RuntimeError, MemoryError):
            log.warning("weights stay as they are", exc_info=True)
            return result, None
        if not agrees:
            return result, None
        log.info("%d MB of weights are held as the processor reads them", size_bytes >> 20)
        self._known[id(layers[0])] = made
        return result, made

    def _agrees(
        self, made: PackedWeights, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...],
        expected: Any,
    ) -> bool:  # fmt: skip
        with made.used():
            nearness_db = _nearness_db(network(*inputs), expected)
        assert self._must_agree_db is not None
        agrees = nearness_db >= self._must_agree_db
        log.info("rounded weights give %.1f dB of the network's own outputs, so that they %s",
                 nearness_db, "stay" if agrees else "go")  # fmt: skip
        return agrees


class PackedFunction:
    """The network itself, until it has been called a few times. For one thread only."""

    def __init__(self, network: torch.nn.Module, turned: _Asked) -> None:
        self._network = network
        self._turned: _Asked | None = turned
        self._calls = 0
        self._weights: PackedWeights | None = None

    @property
    def is_packed(self) -> bool:
        return self._weights is not None

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self._weights is not None:
            with self._weights.used():
                return self._network(*inputs)
        self._calls += 1
        if self._turned is None or self._calls < WORTH_CALLS:
            return self._network(*inputs)
        result, self._weights = self._turned(self._network, inputs)
        # Where there was no room it is not asked again.
        self._turned = None
        return result


def _layers_of(network: torch.nn.Module) -> list[Layer]:
    """Those whose weights can be turned."""
    return [
        layer
        for layer in network.modules()
        if (isinstance(layer, torch.nn.Linear) and computes_plainly(layer, torch.nn.Linear))
        or (
            isinstance(layer, torch.nn.Conv2d)
            and computes_plainly(layer, torch.nn.Conv2d)
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
        )
    ]


def computes_plainly(layer: torch.nn.Module, kind: type[torch.nn.Module]) -> bool:
    """Whether torch's own arithmetic is all that it does."""
    return type(layer).forward is kind.forward and "forward" not in layer.__dict__


def _note(shapes: dict[Layer, torch.Size], layer: Any, given: tuple[torch.Tensor, ...]) -> None:
    shapes.setdefault(layer, given[0].shape)


def turned_layers(shapes: dict[Layer, torch.Size]) -> dict[Layer, Forward]:
    """As ``Turn``: all of them, exactly."""
    return {layer: turned(layer, shape) for layer, shape in shapes.items()}


def turned(layer: Layer, shape: torch.Size) -> Forward:
    """What torch.compile makes of such a layer (torch/_inductor/mkldnn_ir.py)."""
    ops: Any = torch.ops.mkldnn
    bias = layer.bias
    if isinstance(layer, torch.nn.Linear):
        rows = shape.numel() // shape[-1]
        turned = ops._reorder_linear_weight(layer.weight.data, rows)
        return lambda x: ops._linear_pointwise(x, turned, bias, "none", [], "")
    form = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
    turned = ops._reorder_convolution_weight(layer.weight.data, *form, list(shape))
    return lambda x: ops._convolution_pointwise(x, turned, bias, *form, "none", [], "")


def _nearness_db(made: Any, expected: Any) -> float:
    """The least signal to noise of all outputs, whose peak is what each spans; -inf of a NaN."""
    least = math.inf
    for one, other in zip(tensors_of(made), tensors_of(expected), strict=True):
        span = float(other.max()) - float(other.min())
        error = float((one.float() - other.float()).square().mean())
        if math.isnan(error):
            return -math.inf
        if error > 0.0:
            least = min(least, 10.0 * math.log10(max(span * span, 1e-30) / error))
    return least


def _no_more(_network: torch.nn.Module) -> Iterable[Instead]:
    return ()


def _leaves_enough(size_bytes: int) -> bool:
    memory = psutil.virtual_memory()
    return memory.available - size_bytes > LEAVES_FREE * memory.total
