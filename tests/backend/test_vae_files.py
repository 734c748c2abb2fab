"""A VAE of the painter's choice finishes the picture; what cannot be used is told, and goes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from nijimi_protocol.upscale import UpscaleParams
from safetensors.torch import load_file, save_file

from benchmarks.workbench import Workbench

_PREFIX = "first_stage_model."


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = tmp_path_factory.mktemp("vaes")
    bench = Workbench(folder, "sd1")
    own = {key.removeprefix(_PREFIX): value for key, value in load_file(bench.made.path).items()
           if key.startswith(_PREFIX)}  # fmt: skip
    # Brighter in the end: the picture shows which one it went through.
    own["decoder.conv_out.bias"] = own["decoder.conv_out.bias"] + 0.25
    (folder / "vae").mkdir()
    save_file(own, folder / "vae" / "bright.safetensors")
    save_file(_as_diffusers(bench), folder / "vae" / "newer.safetensors")
    cut = dict(own)
    del cut["encoder.conv_in.weight"]
    save_file(cut, folder / "vae" / "cut.safetensors")
    save_file(own | {"decoder.conv_in.weight": torch.zeros(8, 16, 3, 3)},
              folder / "vae" / "wide.safetensors")  # fmt: skip
    return bench


def _as_diffusers(bench: Workbench) -> dict[str, torch.Tensor]:
    """Under diffusers' names, those of its attention as they were when SD's were released."""
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights: dict[str, torch.Tensor] = {}
    for key, value in bench.made.vae.state_dict().items():
        for new, old in older.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        weights[key] = value.contiguous()
    assert any(".query." in key for key in weights)
    weights["decoder.conv_out.bias"] = weights["decoder.conv_out.bias"] + 0.25
    return weights


def _render(bench: Workbench, vae: str = "", version: int = 1, **more: Any) -> Picture:
    params = RenderParams(prompt="sea", seed=3, num_inference_steps=1, strength=0.5, vae=vae)
    rng = np.random.default_rng(2)
    canvas = rng.integers(0, 255, (64, 64, 4), dtype=np.uint8)
    request = FrameRequest(params=params, extent=Extent(64, 64), canvas=canvas,
                           canvas_version=version, exact=True)  # fmt: skip
    with bench.eager():
        return bench.engine.render(replace(request, **more))


def _mean(picture: Picture) -> float:
    return float(picture.pixels[..., :3].mean())


@pytest.mark.parametrize("name", ["bright", "newer"])
def test_a_chosen_vae_finishes_the_picture_and_leaves_nothing_behind(
    bench: Workbench, name: str
) -> None:
    own, chosen = _render(bench), _render(bench, name)
    assert not chosen.failures
    assert _mean(chosen) > _mean(own) + 15
    assert np.array_equal(own.pixels, _render(bench).pixels)


def test_enlarging_goes_through_it_too(bench: Workbench) -> None:
    wish = UpscaleParams(factor=2.0, strength=0.3)
    own, chosen = (_render(bench, name, upscale=wish) for name in ("", "bright"))
    assert _mean(chosen) > _mean(own) + 15


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no VAE named 'nowhere'"),
        ("cut", "conv_in.weight is missing"),
        ("wide", "not for the model"),
    ],
)
def test_one_that_cannot_be_used_is_told_and_the_model_goes_on_with_its_own(
    bench: Workbench, name: str, words: str
) -> None:
    picture = _render(bench, name)
    assert [words in each.sentence for each in picture.failures] == [True]
    assert np.array_equal(picture.pixels, _render(bench).pixels)


def test_a_file_that_is_replaced_is_read_anew(bench: Workbench) -> None:
    folder = bench.folder / "vae"
    shutil.copy(folder / "bright.safetensors", folder / "mine.safetensors")
    bench.library.files()
    first = _mean(_render(bench, "mine"))
    weights = load_file(folder / "mine.safetensors")
    weights["decoder.conv_out.bias"] = weights["decoder.conv_out.bias"] - 0.5
    save_file(weights, folder / "new")
    (folder / "new").replace(folder / "mine.safetensors")
    bench.library.files()
    assert _mean(_render(bench, "mine")) < first - 30
    (folder / "mine.safetensors").unlink()


def test_the_embedded_model_takes_no_other(tmp_path: Path, bench: Workbench) -> None:
    shutil.copy(bench.folder / "vae" / "bright.safetensors", tmp_path)
    library = Library([tmp_path])
    engine = Engine(load_model(library.find_model("nijimi-mini"), choose_device("cpu")), library)
    request = FrameRequest(params=RenderParams(vae="bright"), extent=Extent(64, 64),
                           canvas=np.zeros((64, 64, 4), np.uint8), canvas_version=1)  # fmt: skip
    (failure,) = engine.render(request).failures
    assert "not for the model" in failure.sentence
