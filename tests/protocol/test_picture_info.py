"""A picture's text: written as the web UIs do, and read back, theirs and ours."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_protocol.limits import Limits
from nijimi_protocol.params import SAMPLERS, RenderParams
from nijimi_protocol.picture_info import info_text, params_from_info

FROM_A_WEB_UI = """masterpiece, a boat (red:1.2) <lora:ink:0.8>
second line
Negative prompt: fog, lowres
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234567890, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.45, Clip skip: 2, \
Lora hashes: "ink: 0123456789ab", Version: v1.10.1"""


def test_settings_of_a_web_ui_are_read() -> None:
    found = params_from_info(FROM_A_WEB_UI, RenderParams(refine=False))
    assert found == RenderParams(
        prompt="masterpiece, a boat (red:1.2) <lora:ink:0.8>\nsecond line",
        negative_prompt="fog, lowres", num_inference_steps=20, sampler="dpmpp_2m",
        schedule="karras", guidance_scale=7.0, seed=1234567890, model="v1-5-pruned-emaonly",
        strength=0.45, clip_skip=2, refine=False,
    )  # fmt: skip


def test_what_makes_no_sense_here_stays_as_it_was() -> None:
    text = "a boat\nSteps: 20, Sampler: Restart, CFG scale: 900, Seed: -1, Clip skip: many"
    base = RenderParams(seed=5, guidance_scale=2.0, sampler="ddim")
    found = params_from_info(text, base)
    assert found == replace(base, prompt="a boat", num_inference_steps=20)


@pytest.mark.parametrize("text", ["", "a boat", "a boat\nno: steps", "\n\n"])
def test_a_text_without_settings_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no parameters"):
        params_from_info(text, RenderParams())


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40).map(str.strip)


@given(
    st.builds(
        RenderParams,
        prompt=words.filter(lambda t: "Negative prompt:" not in t),
        negative_prompt=words,
        num_inference_steps=st.integers(1, 100),
        guidance_scale=st.integers(0, 60).map(lambda n: n / 2),
        seed=st.integers(0, 2**32 - 1),
        strength=st.integers(1, 100).map(lambda n: n / 100),
        clip_skip=st.integers(0, 12),
        vae=st.sampled_from(["", "vae-ft-mse", "a, b: c"]),
        schedule=st.sampled_from(["auto", "karras", "exponential", "trailing", "normal"]),
        sampler=st.sampled_from([name for name in SAMPLERS if name != "auto"]),
    )
)
def test_what_is_written_is_read_again(params: RenderParams) -> None:
    text = info_text(params, params.sampler, 512, 768, "a model, or: two", "0" * 64, {
        "ink": "1" * 64, "wash, thin": "2" * 64,
    })  # fmt: skip
    found = params_from_info(text, RenderParams(strength=1.0))
    assert replace(found, model="") == params
    assert found.model == "a model, or: two"
    assert "Size: 512x768" in text
    assert "Model hash: 0000000000," in text
    assert f'Lora hashes: "ink: {"1" * 12}, wash, thin: {"2" * 12}",' in text


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = params_from_info(text, RenderParams())
        assert found.checked(Limits()) is found
