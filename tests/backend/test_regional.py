"""Regions: words count where their layer lies, by the definition, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from nijimi_backend.engine.control.regional import Regional, RegionRack, region_params
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.request import Control, FrameRequest, Picture
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from tests.support.tiny_control import write_controlnet
from tests.support.tiny_model import write_tiny_model

SIZE = Extent(64, 64)
PARAMS = RenderParams(
    prompt="a house", seed=4, mode=RenderMode.TXT2IMG, strength=1.0, num_inference_steps=2
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("regions")
    write_tiny_model(folder / "tiny", attention_first=True)
    write_controlnet(folder / "controlnet" / "scribble")
    return open_engine("tiny", folder, "cpu")


def _layer(left: int, right: int) -> np.ndarray[Any, Any]:
    layer = np.zeros((64, 64, 4), dtype=np.uint8)
    layer[:, left:right] = 255
    return layer


def _region(prompt: str, left: int = 0, right: int = 64, **values: Any) -> Control:
    made = Control(
        kind="region", pixels=_layer(left, right), version=100 * left + right, prompt=prompt,
        id="r",
    )  # fmt: skip
    return replace(made, **values)


def _render(engine: Engine, *controls: Control, **changes: Any) -> Picture:
    return engine.render(
        FrameRequest(params=replace(PARAMS, **changes), extent=SIZE, controls=controls)
    )


def _same(one: Picture, other: Picture) -> bool:
    return bool(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max() <= 1)


def test_a_region_of_all_the_canvas_is_as_if_its_words_stood_in_the_prompt(engine: Engine) -> None:
    everywhere = _render(engine, _region("a red boat"))
    written = _render(engine, prompt="a red boat,\na house")
    assert _same(everywhere, written)
    assert not _same(everywhere, _render(engine))
    guided = _render(engine, _region("a red boat"), guidance_scale=5.0)
    assert _same(guided, _render(engine, prompt="a red boat,\na house", guidance_scale=5.0))


def test_a_region_that_covers_nothing_or_is_off_changes_nothing(engine: Engine) -> None:
    plain = _render(engine)
    assert _same(_render(engine, _region("a red boat", 0, 0)), plain)
    assert _same(_render(engine, _region("a red boat", scale=0.0)), plain)


def test_the_picture_is_as_before_when_a_region_went(engine: Engine) -> None:
    before = _render(engine)
    _render(engine, _region("a red boat", 0, 32))
    assert np.array_equal(_render(engine).pixels, before.pixels)


def test_the_upper_region_hides_what_lies_below_it(engine: Engine) -> None:
    above = _region("a red boat")
    below = _region("a green tree", 0, 40, id="below")
    assert _same(_render(engine, above, below), _render(engine, above))
    assert not _same(_render(engine, below, above), _render(engine, above))


def test_weights_sum_to_one_and_follow_strength_and_steps() -> None:
    masks = torch.rand(3, 1, 5, 7)
    controls = (_region("a"), _region("b", scale=0.5), _region("c", start=0.5))
    regional = Regional(controls=controls, masks=masks)
    early, late = regional.weights(0.0), regional.weights(0.5)
    for weights in (early, late):
        assert torch.allclose(weights.sum(0), torch.ones(1, 5, 7))
    assert early[3].abs().max() == 0
    assert late[3].abs().max() > 0
    assert torch.equal(early[1], masks[0])
    assert torch.allclose(early[2], (1 - masks[0]) * masks[1] * 0.5)


def test_each_place_hears_the_words_that_count_there(engine: Engine) -> None:
    """Against the definition, with softmax written out for one attention."""
    torch.manual_seed(3)
    attention: Any = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4).eval()
    rack = RegionRack(engine._bundle)  # pyright: ignore[reportPrivateUsage]
    attention.register_forward_hook(rack._mixed, with_kwargs=True)  # pyright: ignore[reportPrivateUsage]
    hidden = torch.randn(2, 12, 8)
    texts = [torch.randn(2, length, 6) for length in (5, 5, 9)]
    weights = torch.rand(3, 12)
    weights /= weights.sum(0)
    rack.use((*texts[1:], weights), 2)
    with torch.inference_mode():
        ours = attention(hidden, encoder_hidden_states=texts[0])
        rack.use((), 0)
        wanted = torch.zeros_like(ours)
        for text, weight in zip(texts, weights, strict=True):
            q, k, v = (
                part.unflatten(-1, (2, 4)).transpose(1, 2)  # N x heads x T x width
                for part in (attention.to_q(hidden), attention.to_k(text), attention.to_v(text))
            )
            heard = torch.softmax(q @ k.transpose(-1, -2) / 2.0, dim=-1) @ v
            heard = attention.to_out[0](heard.transpose(1, 2).flatten(2))
            wanted += heard * weight[None, :, None]
    assert (ours - wanted).abs().max() < 1e-5


def test_a_region_is_told_in_parts_of_the_canvas(engine: Engine) -> None:
    """A selection's crop sees the part of the region that lies in it."""
    rack = RegionRack(engine._bundle)  # pyright: ignore[reportPrivateUsage]
    half = _region("a", 32, 64)
    crop = SIZE.bounds._replace(x=32, width=32, height=32)
    regional, failed = rack.prepare([half], SIZE, crop, Extent(64, 64))
    assert not failed
    assert regional.masks is not None
    assert bool((regional.masks == 1.0).all())
    regional, _ = rack.prepare([half], SIZE, SIZE.bounds, Extent(64, 64))
    assert regional.masks is not None
    columns = regional.masks[0, 0].mean(0)
    assert columns[0] == 0.0
    assert columns[-1] == 1.0


def test_a_control_of_a_region_counts_in_it_alone(engine: Engine) -> None:
    lines = np.zeros((64, 64, 4), dtype=np.uint8)
    lines[::8, :, 3] = 255
    scribble = Control(kind="scribble", pixels=lines, version=9)
    nowhere, everywhere = _region("", 0, 0), _region("")
    whole = _render(engine, scribble, everywhere)
    assert not _same(whole, _render(engine))
    assert _same(_render(engine, replace(scribble, region="r"), everywhere), whole)
    assert _same(_render(engine, replace(scribble, region="r"), nowhere), _render(engine))
    # Its region is off, and so is it.
    off = replace(everywhere, scale=0.0)
    assert _same(_render(engine, replace(scribble, region="r"), off), _render(engine))


def test_words_stand_before_those_of_the_whole_picture() -> None:
    params = RenderParams(prompt="a house # mine", second_prompt="a barn")
    made = region_params(params, Control(kind="region", prompt=" a boat # new "))
    assert made.prompt == "a boat # new,\na house # mine"
    assert made.second_prompt == "a boat # new,\na barn"
    assert region_params(params, Control(kind="region")).prompt == params.prompt


def test_a_region_without_a_layer_is_told_and_the_rest_goes_on(engine: Engine) -> None:
    picture = _render(engine, Control(kind="region", prompt="a boat"))
    assert [failure.sentence for failure in picture.failures] == ["A region has no layer."]


def test_what_a_regions_words_name_and_is_not_there_is_told_once(engine: Engine) -> None:
    regions = (_region("__weather__ sky"), _region("<lora:missing:1> sea", id="s"))
    picture = _render(engine, *regions, prompt="__weather__")
    told = [failure.sentence for failure in picture.failures]
    assert sum("weather.txt" in each for each in told) == 1
    assert sum("missing" in each for each in told) == 1


def test_a_picture_that_failed_leaves_no_words_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _render(engine, guidance_scale=3.0)
    unet: Any = engine._bundle.unet  # pyright: ignore[reportPrivateUsage]
    # Not packed: what is traced would not ask the network again.
    monkeypatch.setattr(engine.denoiser, "_packs", False)

    def fail(*_: object, **__: object) -> None:
        raise ValueError("in the middle of it")

    with monkeypatch.context() as broken:
        broken.setattr(type(unet), "forward", fail)
        with pytest.raises(ValueError, match="in the middle"):
            _render(engine, _region("a red boat"), guidance_scale=3.0)
    assert _same(_render(engine, guidance_scale=3.0), plain)
