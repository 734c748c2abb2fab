"""A UNet enters; the same UNet leaves, whose layers that read the same are one product.

At batch 1 a fast graphics card waits for the next kernel more than it computes. Three kinds of
layers in diffusers' UNets read one tensor: the queries, keys and values of a self attention; the
keys and values of all cross attentions, which read the prompt; and the time projections of all
residual blocks, with the SiLU before them. In SD1.5 that is 48, 32 and 44 kernels, and 16, 1 and 2
joined. Keys and values of a prompt are kept for as long as nobody forgets them, so that a frame
of several steps computes them once.

The weights lie in one tensor, of which each layer's own are views: adapters that are laid on them
in place are in it at once. diffusers' ``fuse_qkv_projections`` copies the weights, which adapters
would not reach, and knows self attentions and a single cross attention only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch.nn.functional import linear, silu

__all__ = ["JoinedLayers"]

_MOST_KEPT = 4
"""Inputs whose products are kept: a few regions' words take turns in one call."""


class JoinedLayers:
    """The groups of one network. Whoever calls it forgets first, once a call or once a frame: what
    is recorded reads inputs that stay the same tensors while their values change."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._groups: list[_Group] = []
        self._resnets: list[Any] = []
        crossing: list[torch.nn.Linear] = []
        timed: list[torch.nn.Linear] = []
        for module in network.modules():
            if isinstance(module, Attention):
                attention: Any = module
                if attention.is_cross_attention:
                    crossing += _joinable(attention.to_k, attention.to_v)
                else:
                    self._join(_joinable(attention.to_q, attention.to_k, attention.to_v))
            elif isinstance(module, ResnetBlock2D) and _takes_silu(module):
                found = _joinable(module.time_emb_proj)
                timed += found
                self._resnets += [module] if found else []
        self._join(crossing, keeps=True)
        if self._join(timed, keeps=True, before=silu):
            for resnet in self._resnets:
                # It is done for all of them at once.
                resnet.skip_time_act = True
        else:
            self._resnets.clear()

    def __len__(self) -> int:
        return len(self._groups)

    def forget(self) -> None:
        """What was computed counts no more."""
        for group in self._groups:
            group.forget()

    def undo(self) -> None:
        """Each layer computes by itself again; its weights stay where they lie."""
        for group in self._groups:
            group.undo()
        for resnet in self._resnets:
            resnet.skip_time_act = False
        self._groups.clear()
        self._resnets.clear()

    def _join(
        self, layers: Sequence[torch.nn.Linear], *, keeps: bool = False,
        before: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> bool:  # fmt: skip
        """Whether they can be one product: all of them or none."""
        kinds = {
            (each.in_features, each.weight.dtype, each.weight.device, each.bias is None)  # pyright: ignore[reportUnnecessaryComparison]
            for each in layers
        }
        if len(layers) < 2 or len(kinds) != 1:
            return False
        self._groups.append(_Group(layers, keeps, before))
        return True


class _Kept(NamedTuple):
    """The products of one input, each layer's part by itself."""

    read: weakref.ref[torch.Tensor]
    version: int | None
    parts: Sequence[torch.Tensor]


class _Group:
    """Layers that read one tensor. ``keeps``: also for the next call, until it is told to forget;
    else until each of them has had its part. ``before``: what is done to the input, for all."""

    def __init__(
        self, layers: Sequence[torch.nn.Linear], keeps: bool,
        before: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> None:  # fmt: skip
        self._layers = tuple(layers)
        self._keeps, self._before = keeps, before
        self._widths = [each.out_features for each in layers]
        self._known: list[_Kept] = []
        self._left = 0
        # Parameters that were made outside of inference mode take no tensors of it.
        with torch.inference_mode(False), torch.no_grad():
            self._weight = torch.cat([each.weight.data for each in layers])
            biases: list[Any] = [each.bias for each in layers]
            self._bias: torch.Tensor | None = None
            if biases[0] is not None:
                self._bias = torch.cat([each.data for each in biases])
            self._lay(biases)
        self._places = [each.weight.data_ptr() for each in layers]
        for n, layer in enumerate(self._layers):
            layer.__dict__["forward"] = _Member(self, n)

    def _lay(self, biases: Sequence[Any]) -> None:
        """Each layer's own weights become views; what they were is freed one by one."""
        rows = self._weight.split(self._widths)
        for layer, own in zip(self._layers, rows, strict=True):
            layer.weight.data = own
        if self._bias is not None:
            for bias, own in zip(biases, self._bias.split(self._widths), strict=True):
                bias.data = own

    def forget(self) -> None:
        self._known.clear()

    def undo(self) -> None:
        self.forget()
        for layer in self._layers:
            layer.__dict__.pop("forward", None)

    def part(self, n: int, x: torch.Tensor) -> torch.Tensor:
        """What the ``n``-th layer gives for ``x``."""
        layer = self._layers[n]
        # Hooks before a layer change what it reads, and compilers join what they want to join.
        if torch.compiler.is_compiling() or layer._forward_pre_hooks:  # pyright: ignore[reportPrivateUsage]
            return self._alone(layer, x)
        version = None if x.is_inference() else x._version
        for kept in self._known:
            if kept.read() is x and kept.version == version:
                return self._taken(kept, n)
        if any(each.weight.data_ptr() != at for each, at in zip(self._layers, self._places,
                                                                strict=True)):  # fmt: skip
            # The network was moved, and its weights with it, each to a place of its own.
            return self._alone(layer, x)
        read = x if self._before is None else self._before(x)
        parts = linear(read, self._weight, self._bias).split(self._widths, dim=-1)
        kept = _Kept(weakref.ref(x), version, parts)
        alive = [each for each in self._known if each.read() is not None]
        self._known = [*alive, kept][-_MOST_KEPT:]
        self._left = len(self._layers)
        return self._taken(kept, n)

    def _taken(self, kept: _Kept, n: int) -> torch.Tensor:
        part = kept.parts[n]
        self._left -= 1
        if not self._keeps and self._left <= 0:
            self._known.clear()
        return part

    def _alone(self, layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        read = x if self._before is None else self._before(x)
        return linear(read, layer.weight, layer.bias)


class _Member:
    """In the place of one layer's ``forward``."""

    def __init__(self, group: _Group, n: int) -> None:
        self._group, self._n = group, n

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._group.part(self._n, x)


def _joinable(*layers: Any) -> list[torch.nn.Linear]:
    """All of them, where all compute as torch's own do; else none."""
    plain = all(
        isinstance(each, torch.nn.Linear)
        and type(each).forward is torch.nn.Linear.forward
        and "forward" not in each.__dict__
        for each in layers
    )
    return list(layers) if plain else []


def _takes_silu(resnet: Any) -> bool:
    """Whether it does SiLU before its time projection, by itself."""
    return (
        isinstance(resnet.time_emb_proj, torch.nn.Linear)
        and not resnet.skip_time_act
        and isinstance(resnet.nonlinearity, torch.nn.SiLU)
    )
