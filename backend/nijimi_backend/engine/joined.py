"""UNet blocks enter; the same leave, whose layers that read the same tensor are one product.

At batch 1 a fast graphics card waits for the next kernel more than it computes. Three kinds of
layers in a UNet, and in a ControlNet, read one tensor: the queries, keys and values of a self
attention; the keys and values of all cross attentions, which read the prompt; and the time
projections of all residual blocks, with the SiLU before them. In SD1.5 that is 48, 32 and 44
kernels, and 16, 1 and 2 joined. Keys and values of a prompt are kept for as long as nobody forgets
them, so that a frame of several steps computes them once.

The weights lie in one tensor, of which each layer's own are views: adapters that are laid on them
in place are in it at once. diffusers' ``fuse_qkv_projections`` would not do: it copies the weights
into layers of its own (``Attention.fuse_projections``), where adapters would not reach them, and
it joins no two cross attentions. Written without a card at hand; results differ by rounding.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch.nn.functional import linear, silu

from ..models.device import is_out_of_memory
from .packed import computes_plainly

__all__ = ["JoinedLayers"]

log = logging.getLogger(__name__)

_MOST_KEPT = 4
"""Inputs whose products are kept: a few regions' words take turns in one call."""

_Before = Callable[[torch.Tensor], torch.Tensor]


class JoinedLayers:
    """The groups of one network, for as long as this is held. For one thread only.

    Whoever calls the network forgets first, once a call or once a frame: what is recorded reads
    inputs that stay the same tensors while their values change, and adapters change weights. While
    a group is laid together its weights are held twice, the largest one's at most: 0.7 GB of SDXL's
    5 in half precision. A group for which that is too much stays as it is, and so does each layer
    after the network was moved, as each has a tensor of its own then.

    Hooks before a time projection see what SiLU has not been done to yet.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self._groups: list[_Group] = []
        self._changes = ExitStack()
        # A layer leads to its group, and that to the layer: without this a network that nobody
        # needs would stay in memory until Python collects its garbage.
        weakref.finalize(self, self._changes.close).atexit = False
        crossing: list[torch.nn.Linear] = []
        timed: dict[torch.nn.Linear, Any] = {}
        for module in network.modules():
            if isinstance(module, Attention):
                attention: Any = module
                if not attention.is_cross_attention:
                    self._join(_joinable(attention.to_q, attention.to_k, attention.to_v))
                elif attention.norm_cross is None and attention.added_kv_proj_dim is None:
                    # Others read words after a norm of their own, or the picture.
                    crossing += _joinable(attention.to_k, attention.to_v)
            elif isinstance(module, ResnetBlock2D) and _takes_silu(module):
                timed |= dict.fromkeys(_joinable(module.time_emb_proj), module)
        self._join(crossing, keeps=True)
        for layer in self._join(list(timed), before=silu):
            # It is done for all of them at once.
            timed[layer].skip_time_act = True
            self._changes.callback(setattr, timed[layer], "skip_time_act", False)

    def __len__(self) -> int:
        return len(self._groups)

    def forget(self) -> None:
        """What was computed counts no more. A compiler that traces this keeps nothing."""
        if torch.compiler.is_compiling():
            return
        for group in self._groups:
            group.forget()

    def undo(self) -> None:
        """Each layer computes by itself again; its weights stay where they lie."""
        self._changes.close()
        self._groups.clear()

    def _join(
        self, layers: Sequence[torch.nn.Linear], *, keeps: bool = False,
        before: _Before | None = None,
    ) -> list[torch.nn.Linear]:  # fmt: skip
        """Those that are one product now with others of their kind."""
        kinds: dict[Any, list[torch.nn.Linear]] = {}
        for each in layers:
            told = [(own.dtype, own.device, own.is_inference()) for (own,) in _tensors_of([each])]
            kinds.setdefault((each.in_features, *told), []).append(each)
        joined: list[torch.nn.Linear] = []
        for alike in kinds.values():
            try:
                if len(alike) > 1:
                    group = _Group(alike, keeps, before)
                    self._changes.callback(group.undo)
                    self._groups.append(group)
                    joined += alike
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                log.info("%d layers stay apart: memory is short", len(alike))
        return joined


@dataclass(eq=False)
class _Kept:
    """The products of one input, each layer's part by itself; ``left``: how many layers have not
    had theirs."""

    read: weakref.ref[torch.Tensor]
    version: int | None
    parts: Sequence[torch.Tensor]
    left: int


class _Group:
    """Layers that read one tensor. ``keeps``: also for the next call, until it is told to forget;
    else until each of them has had its part. ``before``: what is done to the input, for all."""

    def __init__(self, layers: Sequence[Any], keeps: bool, before: _Before | None) -> None:
        self._layers = tuple(layers)
        self._keeps, self._before = keeps, before
        self._widths = [each.out_features for each in layers]
        self._known: list[_Kept] = []
        for tensors in _tensors_of(layers):
            # A tensor of inference mode with data from outside cannot be read any more.
            with torch.inference_mode(tensors[0].is_inference()), torch.no_grad():
                rows = torch.cat([each.data for each in tensors]).split(self._widths)
                for each, own in zip(tensors, rows, strict=True):
                    # What it was is freed.
                    each.data = own
        for n, layer in enumerate(layers):
            layer.__dict__["forward"] = _Member(self, n)

    def forget(self) -> None:
        self._known = []

    def undo(self) -> None:
        self.forget()
        for layer in self._layers:
            if isinstance(layer.__dict__.get("forward"), _Member):
                del layer.__dict__["forward"]

    def part(self, n: int, x: torch.Tensor) -> torch.Tensor:
        """What the ``n``-th layer gives for ``x``."""
        layer = self._layers[n]
        # Hooks before a layer change what it reads, and compilers join what they want to join.
        if torch.compiler.is_compiling() or layer._forward_pre_hooks:
            return self._alone(layer, x)
        version = None if x.is_inference() else x._version
        known = [each for each in self._known if each.read() is x and each.version == version]
        kept = known[0] if known else self._product(x, version)
        if kept is None:
            return self._alone(layer, x)
        kept.left -= 1
        if kept.left <= 0 and not self._keeps:
            self._known = [each for each in self._known if each is not kept]
        return kept.parts[n]

    def _product(self, x: torch.Tensor, version: int | None) -> _Kept | None:
        """That of all layers, which is kept; None where ``x`` is for each to compute alone."""
        live = [(each, each.read()) for each in self._known]
        self._known = [each for each, read in live if read is not None and read is not x]
        if len(self._known) >= _MOST_KEPT:
            # What others still wait for stays: inputs that take turns would drive each other out,
            # and all of the product would be computed for one layer each time.
            done = [each for each in self._known if each.left <= 0]
            if not done:
                return None
            self._known = [each for each in self._known if each is not done[0]]
        left = sum(not each._forward_pre_hooks for each in self._layers)
        tensors = _tensors_of(self._layers)
        rows = [found for each in tensors if (found := _rows_of(each)) is not None]
        if left < 2 or len(rows) < len(tensors):
            return None
        read = x if self._before is None else self._before(x)
        parts = linear(read, *rows).split(self._widths, dim=-1)
        kept = _Kept(weakref.ref(x), version, parts, left)
        self._known.append(kept)
        return kept

    def _alone(self, layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        read = x if self._before is None else self._before(x)
        return linear(read, layer.weight, layer.bias)


class _Member:
    """In the place of one layer's ``forward``."""

    def __init__(self, group: _Group, n: int) -> None:
        self._group, self._n = group, n

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._group.part(self._n, x)


def _rows_of(tensors: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The tensor of which these are the rows, one after another; None where they are no more.

    It is found through the first of them: whoever held it would keep it in the device's memory
    after the network was moved away."""
    first = tensors[0].data
    end = first.data_ptr()
    for each in tensors:
        if each.data_ptr() != end:
            return None
        end += each.nbytes
    # What lies within the first one's memory can be nobody else's.
    storage = first.untyped_storage()
    if end > storage.data_ptr() + storage.nbytes():
        return None
    return first.as_strided((sum(len(each) for each in tensors), *first.shape[1:]), first.stride())


def _tensors_of(layers: Sequence[Any]) -> list[list[torch.Tensor]]:
    """All weights, and all biases where there are any."""
    both = [each.weight for each in layers], [each.bias for each in layers if each.bias is not None]
    return [each for each in both if each]


def _joinable(*layers: Any) -> list[torch.nn.Linear]:
    """Those that compute as torch's own do, of plain weights."""
    return [
        each
        for each in layers
        if isinstance(each, torch.nn.Linear)
        and computes_plainly(each, torch.nn.Linear)
        and type(each.weight) is torch.nn.Parameter
    ]


def _takes_silu(resnet: Any) -> bool:
    """Whether it adds its time projection, of SiLU that it does by itself."""
    return (
        type(resnet).forward is ResnetBlock2D.forward
        and resnet.time_embedding_norm == "default"
        and not resnet.skip_time_act
        and isinstance(resnet.nonlinearity, torch.nn.SiLU)
    )
