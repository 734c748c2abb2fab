"""Parameters: values out of range are refused with a sentence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.params import RenderParams

from .strategies import params as valid_params

LIMITS = Limits()


@given(valid_params)
def test_params_in_range_pass_unchanged(params: RenderParams) -> None:
    assert params.checked(LIMITS) is params


@pytest.mark.parametrize(
    ("params", "word"),
    [
        (RenderParams(strength=math.nan), "strength"),
        (RenderParams(strength=1.5), "strength"),
        (RenderParams(strength=-math.inf), "strength"),
        (RenderParams(guidance_scale=math.inf), "guidance"),
        (RenderParams(num_inference_steps=0), "steps"),
        (RenderParams(num_inference_steps=10**9), "steps"),
        (RenderParams(seed=-1), "seed"),
        (RenderParams(seed=2**32), "seed"),
        (RenderParams(prompt="a" * 10_000), "10000 characters"),
        (RenderParams(negative_prompt="a" * 10_000), "negative prompt"),
        (RenderParams(model="m" * 300), "model"),
        (RenderParams(sampler="plms"), "sampler"),
        (RenderParams(schedule="cubic"), "schedule"),
        (RenderParams(eta=math.nan), "eta"),
        (RenderParams(guidance_rescale=2.0), "rescale"),
        (RenderParams(clip_skip=13), "clip skip"),
        (RenderParams(second_prompt="a" * 10_000), "second prompt"),
        (RenderParams(prompt_blend=-0.1), "blend"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(params: RenderParams, word: str) -> None:
    with pytest.raises(RejectedChange, match=word) as caught:
        params.checked(LIMITS, revision=7)
    assert caught.value.revision == 7
    assert not caught.value.fatal


@pytest.mark.parametrize("extent", [Extent(0, 0), Extent(0, 5), Extent(20000, 20000)])
def test_an_impossible_canvas_is_refused_with_what_to_do(extent: Extent) -> None:
    with pytest.raises(RejectedChange) as caught:
        LIMITS.check_extent(extent)
    assert f"{extent.width} x {extent.height}" in caught.value.sentence
    assert caught.value.action
