"""Layers that read the same are one product: same results, fewer kernels, adapters followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from nijimi_backend.engine.joined import JoinedLayers
from torch.overrides import TorchFunctionMode

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Products(TorchFunctionMode):
    """Counts products of rows, by the width of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.linear:
            self.widths.append(made.shape[-1])
        return made


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(4)
    network: Any = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
        norm_num_groups=8,
    )  # fmt: skip
    return network.eval().requires_grad_(False)


def inputs(seed: int = 0) -> Inputs:
    torch.manual_seed(seed)
    return torch.randn(1, 4, 8, 8), torch.tensor(300 + seed), torch.randn(1, 77, 24)


def called(unet: Any, given: Inputs) -> torch.Tensor:
    return unet(*given, return_dict=False)[0]


@pytest.mark.parametrize("inference", [True, False])
def test_it_gives_what_the_network_gives_by_fewer_products(
    unet: UNet2DConditionModel, inference: bool
) -> None:
    with torch.inference_mode(inference):
        expected = [called(unet, inputs(n)) for n in range(3)]
        with Products() as before:
            called(unet, inputs())
        joined = JoinedLayers(unet)
        with Products() as after:
            called(unet, inputs())
        for n in range(3):
            joined.forget()
            assert torch.allclose(called(unet, inputs(n)), expected[n], atol=1e-5)
    # Four blocks with attention, the middle one among them; seven residual blocks.
    attentions = sum(isinstance(name, str) and name.endswith("attn1")
                     for name, _ in unet.named_modules())  # fmt: skip
    resnets = sum(hasattr(module, "time_emb_proj") for module in unet.modules())
    saved = 2 * attentions + (2 * attentions - 1) + (resnets - 1)
    assert len(before.widths) - len(after.widths) == saved


@torch.inference_mode()
def test_words_are_read_once_until_they_are_forgotten(unet: UNet2DConditionModel) -> None:
    joined = JoinedLayers(unet)
    latents, when, embeds = inputs()
    module: Any = unet
    width = sum(
        2 * layer.out_features
        for name, layer in module.named_modules()
        if name.endswith("attn2.to_k")
    )
    called(unet, (latents, when, embeds))
    with Products() as products:
        for n in range(3):
            called(unet, (latents + n, when + n, embeds))
    assert products.widths.count(width) == 0
    joined.forget()
    with Products() as products:
        called(unet, (latents, when, embeds))
        called(unet, (latents, when, inputs(5)[2]))
    assert products.widths.count(width) == 2


@torch.inference_mode()
def test_values_that_change_in_their_place_are_read_after_forgetting(
    unet: UNet2DConditionModel,
) -> None:
    held, other = inputs(1), inputs(2)
    expected = called(unet, other)
    joined = JoinedLayers(unet)
    called(unet, held)
    for place, value in zip(held, other, strict=True):
        place.copy_(value)
    joined.forget()
    assert torch.allclose(called(unet, held), expected, atol=1e-5)


def test_changes_that_torch_counts_are_seen_without(unet: UNet2DConditionModel) -> None:
    with torch.no_grad():
        latents, when, embeds = inputs(1)
        JoinedLayers(unet)
        called(unet, (latents, when, embeds))
        embeds.mul_(-1.0)
        made = called(unet, (latents, when, embeds))
        assert torch.allclose(made, called(unet, (latents, when, embeds.clone())), atol=1e-6)


@torch.inference_mode()
def test_adapters_in_place_are_followed(unet: UNet2DConditionModel) -> None:
    joined = JoinedLayers(unet)
    before = called(unet, inputs())
    parameters = dict(unet.named_parameters())
    for name, parameter in parameters.items():
        if "attn" in name or "time_emb_proj" in name:
            parameter.data.copy_(parameter.data * 1.5)
    joined.forget()
    changed = called(unet, inputs())
    joined.undo()
    assert torch.allclose(changed, called(unet, inputs()), atol=1e-5)
    assert not torch.allclose(changed, before, atol=1e-3)


@torch.inference_mode()
def test_a_hook_changes_what_its_layer_reads_alone(unet: UNet2DConditionModel) -> None:
    module: Any = unet
    layer = module.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    plain = called(unet, inputs())
    hook = layer.register_forward_pre_hook(lambda _layer, given: (given[0] * 3.0,))
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    assert torch.allclose(called(unet, inputs()), expected, atol=1e-5)
    hook.remove()
    joined.forget()
    assert torch.allclose(called(unet, inputs()), plain, atol=1e-5)


@torch.inference_mode()
def test_a_network_that_was_moved_computes_layer_by_layer(unet: UNet2DConditionModel) -> None:
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    moved: Any = unet
    moved.to(torch.float64).to(torch.float32)
    joined.forget()
    assert torch.allclose(called(unet, inputs()), expected, atol=1e-5)


@torch.inference_mode()
def test_undone_it_leaves_nothing_but_where_weights_lie(unet: UNet2DConditionModel) -> None:
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    assert len(joined) > 0
    joined.undo()
    assert len(joined) == 0
    assert all("forward" not in module.__dict__ for module in unet.modules())
    assert torch.equal(called(unet, inputs()), expected)
    size = sum(p.untyped_storage().nbytes() for p in {p.data_ptr(): p for p in
               unet.parameters()}.values())  # fmt: skip
    assert size >= sum(p.nbytes for p in unet.parameters())


@torch.inference_mode()
def test_layers_that_compute_otherwise_are_left_alone(unet: UNet2DConditionModel) -> None:
    module: Any = unet
    attention = module.mid_block.attentions[0].transformer_blocks[0].attn1
    count = len(JoinedLayers(unet))
    JoinedLayers(unet)
    attention.to_q.__dict__["forward"] = attention.to_q.forward
    assert count > 0
    assert len(JoinedLayers(unet)) == 0
