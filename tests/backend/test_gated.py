"""Gated layers: found in a network, computed in one go, and as they came where that cannot be."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.activations import GEGLU
from nijimi_backend.engine.gated import gates_of
from nijimi_backend.engine.native.build import build, compiler, has_tiles
from nijimi_backend.engine.native.kernels import Kernels
from nijimi_backend.engine.packed import WORTH_CALLS, LargePack
from torch import nn


class Counting(Kernels):
    """Stands for the C functions: what it is given comes out as zeros, and is counted."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.append(x.shape)
        return torch.zeros(*x.shape[:-1], x.shape[-1] // 2, dtype=x.dtype)


def network() -> nn.Sequential:
    torch.manual_seed(4)
    made = nn.Sequential(GEGLU(32, 64), nn.Linear(64, 32), GEGLU(32, 8))
    return made.bfloat16().eval().requires_grad_(False)


def settled(net: nn.Module, x: torch.Tensor, kernels: Kernels | None) -> torch.Tensor:
    function = LargePack(lambda _: True, more=lambda it: gates_of(it, kernels)).pack(net)
    for _ in range(WORTH_CALLS):
        function(x)
    return function(x)


@torch.inference_mode()
def test_gates_whose_rows_fit_are_computed_in_one_go() -> None:
    kernels = Counting()
    net, x = network(), torch.randn(2, 10, 32).bfloat16()
    settled(net, x, kernels)
    assert kernels.shapes == [torch.Size([2, 10, 128])]
    # Outside of what was packed the network is as it was.
    net(x)
    assert len(kernels.shapes) == 1
    assert all("forward" not in module.__dict__ for module in net.modules())


@torch.inference_mode()
def test_without_kernels_gates_stay_as_they_are() -> None:
    net, x = network(), torch.randn(2, 10, 32).bfloat16()
    assert gates_of(net, None) == {}
    assert torch.allclose(settled(net, x, None).float(), net(x).float(), atol=1e-2)


def test_gates_that_compute_otherwise_are_left_alone() -> None:
    net = network()
    net[0].forward = lambda x: x
    assert list(gates_of(net, Counting())) == [net[2]]


@pytest.mark.skipif(
    not has_tiles() or compiler() is None,
    reason="this processor multiplies no tiles (AMX), or there is no C compiler",
)
@torch.inference_mode()
def test_the_network_gives_the_same() -> None:
    net, x = network(), torch.randn(2, 10, 32).bfloat16()
    expected = net.float()(x.float())
    net.bfloat16()
    made = settled(net, x, Kernels(build()))
    assert torch.allclose(made.float(), expected, atol=2e-2)
