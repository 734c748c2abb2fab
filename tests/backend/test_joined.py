"""Layers that read the same are one product: same results, fewer kernels, adapters followed."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from nijimi_backend.engine.joined import JoinedLayers
from nijimi_backend.engine.recorded import record_on_cuda
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import linear, silu
from torch.nn.utils.parametrizations import weight_norm
from torch.overrides import TorchFunctionMode

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Products(TorchFunctionMode):
    """Counts products of rows, by the width of what they give, and SiLUs of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.silus = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is linear:
            self.widths.append(made.shape[-1])
        self.silus += func is silu and made.ndim == 2
        return made


def filled(network: Any) -> Any:
    """With weights everywhere: a new ControlNet gives zeros."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False)


def made_unet() -> Any:
    torch.manual_seed(4)
    return filled(UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
        norm_num_groups=8,
    ))  # fmt: skip


def made_controlnet() -> Any:
    torch.manual_seed(5)
    return filled(ControlNetModel(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=4,
        norm_num_groups=8, conditioning_embedding_out_channels=(8, 16),
    ))  # fmt: skip


@pytest.fixture
def unet() -> Any:
    return made_unet()


def inputs(seed: int = 0) -> Inputs:
    torch.manual_seed(seed)
    return torch.randn(1, 4, 8, 8), torch.tensor(300 + seed), torch.randn(1, 77, 24)


def called(network: Any, given: Inputs) -> torch.Tensor:
    """All that the network gives, one after another."""
    if isinstance(network, UNet2DConditionModel):
        return network(*given, return_dict=False)[0]
    hint = torch.nn.functional.interpolate(given[0][:, :3], scale_factor=2.0)
    down, middle = network(*given, controlnet_cond=hint, return_dict=False)
    return torch.cat([each.flatten() for each in (*down, middle)])


def agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def group_of(layer: Any) -> Any:
    return layer.__dict__["forward"]._group


def layers_of(network: Any, end: str) -> list[Any]:
    return [layer for name, layer in network.named_modules() if name.endswith(end)]


def words_width(network: Any) -> int:
    """Of the product of all keys and values of words."""
    return 2 * sum(layer.out_features for layer in layers_of(network, "attn2.to_k"))


def is_untouched(network: Any) -> bool:
    return not any(
        "forward" in module.__dict__ or getattr(module, "skip_time_act", False)
        for module in network.modules()
    )


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize(
    ("made", "before", "after", "silus"),
    [
        # Four blocks with attention of 10 products, eight residual blocks, 2 for the time itself:
        # 4 x 2 of self attention are saved, 8 - 1 of the words and 8 - 1 of the time.
        (made_unet, 50, 28, (9, 2)),
        # Two blocks with attention, four residual blocks.
        (made_controlnet, 26, 16, (5, 2)),
    ],
)
def test_it_gives_what_the_network_gives_by_fewer_products(
    made: Callable[[], Any], before: int, after: int, silus: tuple[int, int], inference: bool
) -> None:
    network = made()
    with torch.inference_mode(inference):
        expected = [called(network, inputs(n)) for n in range(3)]
        with Products() as apart:
            called(network, inputs())
        joined = JoinedLayers(network)
        with Products() as together:
            called(network, inputs())
        for n in range(3):
            joined.forget()
            assert agree(called(network, inputs(n)), expected[n])
    assert not agree(expected[0], expected[1])
    assert (len(apart.widths), len(together.widths)) == (before, after)
    assert (apart.silus, together.silus) == silus


@torch.inference_mode()
def test_words_are_read_once_until_they_are_forgotten(unet: Any) -> None:
    joined = JoinedLayers(unet)
    latents, when, embeds = inputs()
    width = words_width(unet)
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
@pytest.mark.parametrize("count", [3, 7])
def test_texts_that_take_turns_do_not_drive_each_other_out(unet: Any, count: int) -> None:
    """As regions do it: each cross attention is asked once for each text."""
    texts = [inputs(n)[2] for n in range(count)]
    layers = layers_of(unet, "attn2.to_k")
    expected = [[layer(text) for text in texts] for layer in layers]
    joined = JoinedLayers(unet)
    for _ in range(2):
        joined.forget()
        with Products() as products:
            given = [[layer(text) for text in texts] for layer in layers]
        assert all(agree(a, b) for one, other in zip(given, expected, strict=True)
                   for a, b in zip(one, other, strict=True))  # fmt: skip
        most = min(count, 4)
        alone = (count - most) * len(layers)
        assert len(products.widths) == most + alone
        assert products.widths.count(words_width(unet)) == most


@torch.inference_mode()
def test_older_texts_give_way_to_newer_ones(unet: Any) -> None:
    joined = JoinedLayers(unet)
    texts = [inputs(n)[2] for n in range(7)]
    layers = [*layers_of(unet, "attn2.to_k"), *layers_of(unet, "attn2.to_v")]
    with Products() as products:
        for text in texts:
            for layer in layers:
                layer(text)
    assert products.widths == [words_width(unet)] * len(texts)
    assert len(joined) > 0


@torch.inference_mode()
def test_what_was_read_by_texts_that_are_gone_goes_with_the_next(unet: Any) -> None:
    joined = JoinedLayers(unet)
    latents, when, _ = inputs()
    for n in range(3):
        called(unet, (latents, when, inputs(n)[2]))
    assert len(group_of(layers_of(unet, "attn2.to_k")[0])._known) == 1
    assert len(joined) > 0


@torch.inference_mode()
def test_another_tensor_beside_the_words_is_read_as_it_is(unet: Any) -> None:
    words, others = inputs(1)[2], inputs(2)[2]
    layers = layers_of(unet, "attn2.to_k")
    joined = JoinedLayers(unet)
    for layer in layers:
        for given in (words, others, words[:, :4], words.clone()):
            assert agree(layer(given), linear(given, layer.weight))
    assert len(joined) > 0


@torch.inference_mode()
def test_of_a_call_s_own_tensors_nothing_is_kept(unet: Any) -> None:
    joined = JoinedLayers(unet)
    given = inputs()
    called(unet, given)
    layers = [*layers_of(unet, "attn1.to_q"), *layers_of(unet, "time_emb_proj")]
    assert not any(group_of(layer)._known for layer in layers)
    assert len(joined) > 0


@torch.inference_mode()
def test_values_that_change_in_their_place_are_read_after_forgetting(unet: Any) -> None:
    held, other = inputs(1), inputs(2)
    expected = called(unet, other)
    joined = JoinedLayers(unet)
    called(unet, held)
    for place, value in zip(held, other, strict=True):
        place.copy_(value)
    joined.forget()
    assert agree(called(unet, held), expected)


@pytest.mark.parametrize("inference", [True, False])
def test_changes_that_torch_counts_are_seen_without(unet: Any, inference: bool) -> None:
    # Made outside of inference mode, a tensor counts its changes within it, too.
    latents, when, embeds = inputs(1)
    joined = JoinedLayers(unet)
    with torch.inference_mode(inference), torch.no_grad():
        before = called(unet, (latents, when, embeds))
        embeds.mul_(-1.0)
        made = called(unet, (latents, when, embeds))
        # What counts no more is not kept.
        assert len(group_of(layers_of(unet, "attn2.to_k")[0])._known) == 1
        assert agree(made, called(unet, (latents, when, embeds.clone())))
    assert not agree(made, before)
    assert len(joined) > 0


@pytest.mark.parametrize("loaded_in_inference", [True, False])
@pytest.mark.parametrize("laid_in_inference", [True, False])
def test_adapters_in_place_are_followed(loaded_in_inference: bool, laid_in_inference: bool) -> None:
    with torch.inference_mode(loaded_in_inference):
        unet = made_unet()
    with torch.inference_mode():
        before = called(unet, inputs())
        joined = JoinedLayers(unet)
        assert all(each.is_inference() == loaded_in_inference for each in unet.parameters())
        called(unet, inputs())
    for inference in (True, laid_in_inference):
        with torch.inference_mode(inference):
            for name, parameter in unet.named_parameters():
                if any(each in name for each in ("to_q", "to_k", "to_v", "time_emb_proj")):
                    parameter.data.copy_(parameter.data * 1.5)
    with torch.inference_mode():
        joined.forget()
        changed = called(unet, inputs())
        joined.undo()
        assert agree(changed, called(unet, inputs()))
        assert not torch.allclose(changed, before, atol=1e-3)


@torch.inference_mode()
def test_a_hook_changes_what_its_layer_reads_alone(unet: Any) -> None:
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    plain = called(unet, inputs())
    hook = layer.register_forward_pre_hook(lambda _layer, given: (given[0] * 3.0,))
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    with Products() as products:
        assert agree(called(unet, inputs()), expected)
    assert products.widths.count(words_width(unet)) == 1
    assert not agree(expected, plain)
    hook.remove()
    joined.forget()
    assert agree(called(unet, inputs()), plain)


@torch.inference_mode()
def test_where_all_others_are_hooked_a_layer_computes_alone(unet: Any) -> None:
    """As hypernetworks do it before all keys and values."""
    joined = JoinedLayers(unet)
    layers = [*layers_of(unet, ".to_k"), *layers_of(unet, ".to_v")]
    for layer in layers:
        layer.register_forward_pre_hook(lambda _layer, given: (given[0] * 1.5,))
    with Products() as products:
        made = called(unet, inputs())
    known = [group_of(layer)._known for layer in layers]
    assert Counter(products.widths)[3 * 32] == Counter(products.widths)[3 * 64] == 0
    assert not any(known)
    joined.undo()
    assert agree(made, called(unet, inputs()))


@torch.inference_mode()
def test_a_network_that_was_moved_computes_layer_by_layer(unet: Any) -> None:
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    called(unet, inputs())
    unet.to(torch.float64).to(torch.float32)
    joined.forget()
    with Products() as products:
        assert agree(called(unet, inputs()), expected)
    assert len(products.widths) == 50
    for parameter in unet.parameters():
        parameter.data.mul_(1.1)
    joined.forget()
    changed = called(unet, inputs())
    joined.undo()
    assert agree(changed, called(unet, inputs()))


@torch.inference_mode()
@pytest.mark.parametrize("which", ["weight", "bias"])
def test_a_tensor_that_others_put_in_is_followed(unet: Any, which: str) -> None:
    layer = unet.mid_block.resnets[0].time_emb_proj
    before = called(unet, inputs())
    joined = JoinedLayers(unet)
    other = torch.randn_like(getattr(layer, which))
    setattr(layer, which, torch.nn.Parameter(other, requires_grad=False))
    changed = called(unet, inputs())
    joined.undo()
    assert agree(changed, called(unet, inputs()))
    assert not agree(changed, before)


@torch.inference_mode()
def test_tensors_that_lie_side_by_side_by_chance_are_no_product() -> None:
    """As a moved network's may, where the tensor that they were views of has lain."""
    attention: Any = Attention(16, heads=2, dim_head=8).eval()
    joined = JoinedLayers(torch.nn.ModuleList([attention]))
    x = torch.randn(1, 5, 16)
    expected = attention(x)
    layers = (attention.to_q, attention.to_k, attention.to_v)
    memory = bytearray(sum(layer.weight.nbytes for layer in layers))
    at = 0
    for layer in layers:
        own = torch.frombuffer(memory, dtype=torch.float32, offset=at, count=layer.weight.numel())
        layer.weight.data = own.view_as(layer.weight).copy_(layer.weight)
        at += layer.weight.nbytes
    assert layers[1].weight.data_ptr() == layers[0].weight.data_ptr() + layers[0].weight.nbytes
    assert agree(attention(x), expected)
    assert len(joined) == 1


def joined_storages(network: Any) -> list[StorageWeakRef]:
    ends = ("attn1.to_q", "to_k", "to_v", "time_emb_proj")
    layers = [layer for end in ends for layer in layers_of(network, end)]
    return [StorageWeakRef(layer.weight.untyped_storage()) for layer in layers]


@torch.inference_mode()
def test_a_network_that_was_moved_leaves_nothing_behind(unet: Any) -> None:
    joined = JoinedLayers(unet)
    called(unet, inputs())
    joined.forget()
    storages = joined_storages(unet)
    unet.to(torch.float64)
    assert all(each.expired() for each in storages)
    assert len(joined) > 0


@torch.inference_mode()
def test_weights_are_held_once(unet: Any) -> None:
    before = joined_storages(unet)
    joined = JoinedLayers(unet)
    assert all(each.expired() for each in before)
    parameters = list(unet.parameters())
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
                for each in parameters}  # fmt: skip
    assert sum(storages.values()) == sum(each.nbytes for each in parameters)
    assert len(joined) == 4 + 1 + 1


@torch.inference_mode()
def test_undone_it_leaves_nothing_but_where_weights_lie(unet: Any) -> None:
    expected = called(unet, inputs())
    joined = JoinedLayers(unet)
    assert not is_untouched(unet)
    joined.undo()
    joined.undo()
    assert len(joined) == 0
    assert is_untouched(unet)
    assert torch.equal(called(unet, inputs()), expected)


def test_what_others_put_in_its_place_stays(unet: Any) -> None:
    joined = JoinedLayers(unet)
    layer = layers_of(unet, "attn1.to_q")[0]
    layer.__dict__["forward"] = other = torch.nn.Identity()
    joined.undo()
    assert layer.__dict__["forward"] is other


@contextmanager
def no_collections() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@torch.inference_mode()
def test_nobody_s_network_is_freed_at_once() -> None:
    unet = made_unet()
    joined = JoinedLayers(unet)
    called(unet, inputs())
    alive = [weakref.ref(module) for module in unet.modules()]
    with no_collections():
        del unet, joined
        assert not any(each() for each in alive)


@torch.inference_mode()
def test_a_network_is_joined_for_as_long_as_somebody_asks_for_it(unet: Any) -> None:
    joined = JoinedLayers(unet)
    with no_collections():
        del joined
    assert is_untouched(unet)
    again = JoinedLayers(unet)
    assert len(again) == 6


@torch.inference_mode()
def test_layers_that_compute_otherwise_are_left_alone(unet: Any) -> None:
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    own = attention.to_q.__dict__["forward"] = attention.to_q.forward

    class Other(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 2.0

    layer = unet.down_blocks[0].resnets[0].time_emb_proj
    layer.__class__ = Other
    expected = called(unet, inputs())
    first = JoinedLayers(unet)
    second = JoinedLayers(unet)
    assert (len(first), len(second)) == (6, 0)
    assert agree(called(unet, inputs()), expected)
    assert attention.to_q.__dict__["forward"] is own
    assert not unet.down_blocks[0].resnets[0].skip_time_act
    assert "forward" not in layer.__dict__


@torch.inference_mode()
def test_blocks_that_take_the_time_otherwise_are_left_alone() -> None:
    kinds: list[dict[str, Any]] = [
        {}, {}, {"time_embedding_norm": "scale_shift"}, {"skip_time_act": True},
        {"non_linearity": "mish"}, {"temb_channels": 12}, {"temb_channels": None},
    ]  # fmt: skip
    torch.manual_seed(6)
    blocks: list[Any] = []
    for kind in kinds:
        options: Any = {"temb_channels": 16, **kind}
        blocks.append(ResnetBlock2D(in_channels=8, groups=4, **options))
    network = torch.nn.ModuleList(blocks).eval()
    x, times = torch.randn(1, 8, 4, 4), {n: torch.randn(1, n) for n in (12, 16)}

    def run() -> list[torch.Tensor]:
        return [block(x, times.get(kind.get("temb_channels", 16)))
                for block, kind in zip(blocks, kinds, strict=True)]  # fmt: skip

    expected = run()
    joined = JoinedLayers(network)
    assert [block.skip_time_act for block in blocks] == [True] * 2 + [False, True] + [False] * 3
    assert all(agree(*both) for both in zip(run(), expected, strict=True))
    joined.undo()
    assert [block.skip_time_act for block in blocks] == [False] * 3 + [True] + [False] * 3


@torch.inference_mode()
def test_blocks_that_do_silu_in_a_way_of_their_own_are_left_alone() -> None:
    class Own(ResnetBlock2D):
        def forward(
            self, input_tensor: torch.Tensor, temb: torch.Tensor, *args: Any, **kwargs: Any
        ) -> torch.Tensor:
            assert self.time_emb_proj is not None
            return input_tensor + self.time_emb_proj(silu(temb))[:, :, None, None]

    blocks = [Own(in_channels=8, groups=4, temb_channels=16) for _ in range(2)]
    x, time = torch.randn(1, 8, 4, 4), torch.randn(1, 16)
    expected = [block(x, time) for block in blocks]
    joined = JoinedLayers(torch.nn.ModuleList(blocks))
    assert all(agree(block(x, time), each) for block, each in zip(blocks, expected, strict=True))
    assert len(joined) == 0


def test_weights_that_are_computed_are_left_alone() -> None:
    attention: Any = Attention(16)
    for layer in (attention.to_q, attention.to_k):
        weight_norm(layer)
    assert len(JoinedLayers(torch.nn.ModuleList([attention]))) == 0


@pytest.mark.parametrize(
    ("kind", "count"),
    [({}, 1), ({"cross_attention_norm": "layer_norm"}, 0), ({"added_kv_proj_dim": 24}, 0),
     ({"bias": True}, 1)],
)  # fmt: skip
def test_attentions_that_read_no_common_words_are_left_alone(
    kind: dict[str, Any], count: int
) -> None:
    attentions = [Attention(16, cross_attention_dim=24, **kind) for _ in range(2)]
    assert len(JoinedLayers(torch.nn.ModuleList(attentions))) == count


@torch.inference_mode()
def test_layers_of_each_kind_are_joined_with_their_own() -> None:
    """Two read words of another width; one has a bias, and nobody to join."""
    torch.manual_seed(7)
    attentions: list[Any] = [Attention(16, cross_attention_dim=n, heads=2, dim_head=8) for n in
                             (24, 24, 12, 12)]  # fmt: skip
    attentions[0].to_k = torch.nn.Linear(24, 16)
    network = torch.nn.ModuleList(attentions).eval()
    joined = JoinedLayers(network)
    words = {n: torch.randn(1, 5, n) for n in (12, 24)}
    x = torch.randn(1, 9, 16)
    with Products() as products:
        made = [each(x, words[each.to_v.in_features]) for each in attentions]
    assert len(joined) == 2
    assert Counter(products.widths) == {16: 1 + 4 + 4, 3 * 16: 1, 4 * 16: 1}
    joined.undo()
    assert all(agree(one, each(x, words[each.to_v.in_features]))
               for one, each in zip(made, attentions, strict=True))  # fmt: skip


@torch.inference_mode()
def test_where_memory_is_short_layers_stay_apart(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = called(unet, inputs())
    real: Any = torch.cat

    def cat(tensors: Any, *more: Any, **options: Any) -> torch.Tensor:
        if tensors[0].shape[-1] == 24:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(tensors, *more, **options)

    with monkeypatch.context() as patches:
        patches.setattr(torch, "cat", cat)
        joined = JoinedLayers(unet)
    assert len(joined) == 4 + 1
    assert agree(called(unet, inputs()), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@torch.inference_mode()
def test_recorded_on_a_card_adapters_are_followed(unet: Any) -> None:
    unet.to("cuda")
    joined = JoinedLayers(unet)
    latents, when, embeds = held = [each.to("cuda") for each in inputs(1)]

    def work() -> torch.Tensor:
        joined.forget()
        return called(unet, (latents, when, embeds))

    replay, made = record_on_cuda()(work)
    for place, value in zip(held, inputs(2), strict=True):
        place.copy_(value)
    for layer in layers_of(unet, "to_k"):
        layer.weight.data.mul_(1.5)
    replay()
    joined.undo()
    assert torch.allclose(made, called(unet, (latents, when, embeds)), atol=1e-3)
