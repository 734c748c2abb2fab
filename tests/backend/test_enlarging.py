"""Enlarging folded into the convolution after it: the same numbers, names and adapters."""

# diffusers types its networks' constructors too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from nijimi_backend.models.enlarging import EnlargingConv2d, lay_out
from torch import nn
from torch.nn import functional


def folded_in(network: nn.Module) -> list[EnlargingConv2d]:
    return [module for module in network.modules() if isinstance(module, EnlargingConv2d)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_one_convolution_gives_what_two_steps_give(
    size: tuple[int, int], layout: torch.memory_format, bias: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, padding=1, bias=bias).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    x = torch.randn(2, 6, *size).contiguous(memory_format=layout)
    with torch.inference_mode():
        asked = conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        got = EnlargingConv2d(conv)(x)
    assert got.shape == asked.shape
    assert torch.allclose(got, asked, atol=1e-5)


def test_what_is_traced_gives_the_same() -> None:
    torch.manual_seed(0)
    conv = EnlargingConv2d(nn.Conv2d(4, 6, 3, padding=1)).eval()
    x = torch.randn(1, 4, 5, 7)
    with torch.no_grad():
        traced: Any = torch.jit.trace(conv, x, check_trace=False)
        traced = torch.jit.freeze(traced.eval())
        other = torch.randn(1, 4, 5, 7)
        assert torch.allclose(traced(other), conv(other), atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "tiny"])
def test_decoders_give_the_same_pictures(kind: str) -> None:
    torch.manual_seed(0)
    plain: Any = (
        AutoencoderTiny()
        if kind == "tiny"
        else AutoencoderKL(
            block_out_channels=(16, 32, 32), norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        )
    )  # fmt: skip
    plain.eval()
    folded: Any = copy.deepcopy(plain)
    lay_out(folded, on_gpu=False)
    assert len(folded_in(folded)) == (3 if kind == "tiny" else 2)
    assert list(folded.state_dict()) == list(plain.state_dict())
    latents = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        one, other = (net.decode(latents).sample for net in (plain, folded))
    assert torch.allclose(one, other, atol=1e-4)


def test_on_a_card_an_autoencoder_is_only_turned() -> None:
    network = AutoencoderTiny()
    lay_out(network, on_gpu=True)
    assert not folded_in(network)
    wide = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all(each.weight.is_contiguous(memory_format=torch.channels_last) for each in wide)


def test_in_half_precision_and_for_gradients_it_goes_step_by_step() -> None:
    conv = EnlargingConv2d(nn.Conv2d(3, 3, 3, padding=1))
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None
    half = copy.deepcopy(conv).to(torch.bfloat16)
    with torch.inference_mode():
        assert half(x.detach().to(torch.bfloat16)).shape == (1, 3, 8, 8)
    assert half._folded is None  # pyright: ignore[reportPrivateUsage]


def test_weights_that_were_read_while_a_picture_was_made_fold_as_well() -> None:
    """A VAE is read in inference mode when a picture asks for it, and such tensors know less."""
    with torch.inference_mode():
        conv = EnlargingConv2d(nn.Conv2d(3, 3, 3, padding=1, bias=False))
        assert conv(torch.ones(1, 3, 2, 2)).shape == (1, 3, 4, 4)
