"""Blocks between their products: computed in fewer passes, the same values, and as they came where
they are of another kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from nijimi_backend.engine.blocks import quick_blocks
from nijimi_backend.engine.native.build import build
from nijimi_backend.engine.native.kernels import Kernels
from nijimi_backend.engine.packed import WORTH_CALLS, LargePack
from torch import nn

from tests.support.tiles import needs_tiles


class Plain(Kernels):
    """Stands for the C functions: takes all, computes by torch, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def takes_gate(self, x: torch.Tensor) -> bool:
        return True

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append("gate")
        first, gate = x.chunk(2, dim=-1)
        return first * torch.nn.functional.gelu(gate)

    def takes_picture(self, x: torch.Tensor, norm: nn.GroupNorm) -> bool:
        return True

    def group_normed(
        self, x: torch.Tensor, norm: nn.GroupNorm, *, with_silu: bool,
        add: torch.Tensor | None = None,
    ) -> torch.Tensor:  # fmt: skip
        self.asked.append("silu" if with_silu else "group")
        made = nn.GroupNorm.forward(norm, x if add is None else x + add[:, :, None, None])
        return torch.nn.functional.silu(made) if with_silu else made

    def takes_rows(self, x: torch.Tensor, norm: nn.LayerNorm) -> bool:
        return True

    def row_normed(self, x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
        self.asked.append("row")
        return nn.LayerNorm.forward(norm, x)


class Refusing(Plain):
    """Takes nothing."""

    def takes_gate(self, x: torch.Tensor) -> bool:
        return False

    def takes_picture(self, x: torch.Tensor, norm: nn.GroupNorm) -> bool:
        return False

    def takes_rows(self, x: torch.Tensor, norm: nn.LayerNorm) -> bool:
        return False


class Asked(nn.Module):
    """A UNet of the Stable Diffusion family, asked as the engine asks it."""

    def __init__(self, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
            attention_head_dim=4, **more,
        )  # fmt: skip
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor, when: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return self.unet(x, when, words, return_dict=False)[0]


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(7)
    x = torch.randn(2, 4, 8, 8, dtype=dtype).to(memory_format=torch.channels_last)
    return x, torch.tensor(400), torch.randn(2, 5, 16, dtype=dtype)


def settled(net: nn.Module, kernels: Kernels | None, given: tuple[torch.Tensor, ...]) -> Any:
    pack = LargePack(lambda _: True, lambda _shapes: {}, more=lambda it: quick_blocks(it, kernels))
    function = pack.pack(net)
    for _ in range(WORTH_CALLS):
        function(*given)
    assert function.is_packed
    return function


@torch.inference_mode()
@pytest.mark.parametrize("more", [{}, {"use_linear_projection": True}])
def test_a_unet_gives_the_same(more: dict[str, Any]) -> None:
    kernels, net, given = Plain(), Asked(**more), inputs()
    made = settled(net, kernels, given)(*given)
    # float32: only what is divided by one and laid out anew is left out.
    assert torch.allclose(made, net(*given), atol=1e-5)
    blocks = sum(isinstance(each, ResnetBlock2D) for each in net.modules())
    norms = sum(isinstance(each, nn.GroupNorm) for each in net.modules())
    assert kernels.asked.count("silu") == 2 * blocks
    assert kernels.asked.count("group") == norms - 2 * blocks
    gates = sum(isinstance(each, GEGLU) for each in net.modules())
    assert kernels.asked.count("gate") == gates > 0
    assert kernels.asked.count("row") == 3 * gates


@torch.inference_mode()
def test_outside_of_what_was_packed_nothing_is_changed() -> None:
    kernels, net, given = Plain(), Asked(), inputs()
    settled(net, kernels, given)
    names = set(net.unet.mid_block.resnets[0].__dict__)
    kernels.asked.clear()
    net(*given)
    assert not kernels.asked
    assert not names & {"forward", "_get_output_for_continuous_inputs"}


@torch.inference_mode()
def test_what_is_not_taken_is_computed_as_it_came() -> None:
    kernels, net, given = Refusing(), Asked(), inputs()
    made = settled(net, kernels, given)(*given)
    assert torch.allclose(made, net(*given), atol=1e-5)
    assert not kernels.asked


@torch.inference_mode()
@pytest.mark.parametrize(
    ("more", "scale"), [({"resnet_time_scale_shift": "scale_shift"}, 1.0), ({}, 2.0)]
)
def test_blocks_of_another_kind_are_left_alone(more: dict[str, Any], scale: float) -> None:
    kernels, net, given = Plain(), Asked(**more), inputs()
    for block in net.modules():
        if isinstance(block, ResnetBlock2D):
            block.output_scale_factor = scale
    made = settled(net, kernels, given)(*given)
    assert torch.allclose(made, net(*given), atol=1e-5)
    assert kernels.asked.count("silu") == 0


def test_modules_that_compute_otherwise_are_left_alone() -> None:
    net = nn.Sequential(GEGLU(32, 64), nn.LayerNorm(64), nn.GroupNorm(2, 32))
    assert {each.module for each in quick_blocks(net, Plain())} == set(net)
    for module in net:
        module.__dict__["forward"] = lambda x: x
    assert not list(quick_blocks(net, Plain()))


def test_without_kernels_everything_stays() -> None:
    assert not list(quick_blocks(Asked(), None))


@needs_tiles
@torch.inference_mode()
def test_a_unet_in_bfloat16_is_no_farther_from_the_exact_one() -> None:
    net = Asked()
    exact = net(*inputs())
    net.bfloat16()
    given = inputs(torch.bfloat16)
    plain = net(*given).float()
    made = settled(net, Kernels(build()), given)(*given).float()
    ours, torchs = ((each - exact).square().mean().sqrt() for each in (made, plain))
    assert float(ours) < 1.2 * float(torchs)
