"""Flow-matching models of the real layouts: loaded whole, rendered as diffusers does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from nijimi_backend.engine import engine as engine_module
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.flow.family import flow_family
from nijimi_backend.engine.flow.run import make_flow_run
from nijimi_backend.engine.request import Control, FrameRequest, Picture
from nijimi_backend.errors import BadInput, ModelCorrupt, ModelMissing
from nijimi_backend.models import sd3_files
from nijimi_backend.models.headers import read_header
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.tiny_vae import find_tiny_vae, load_tiny_vae
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams
from safetensors.torch import load_file, save_file

from benchmarks.parity_flow import FLOW_MODELS, flow_rows
from benchmarks.real_flow import (
    write_sd3_file,
    write_sd3_files,
    write_zimage_files,
    write_zimage_folder,
)
from benchmarks.workbench import BAR, CPU, gap, latents_of, parity_params

SIZE = Extent(64, 64)


def _open(folder: Path) -> Engine:
    library = Library([folder])
    return Engine(load_model(library.find_model("model"), CPU), library)


@pytest.fixture(scope="module")
def zimage(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("zimage")
    write_zimage_folder(folder / "model")
    return _open(folder)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("sd3")
    FLOW_MODELS["sd3, folder with T5"](folder / "model")
    return _open(folder)


def _render(engine: Engine, **changes: Any) -> Picture:
    own = ("controls", "mask", "on_look", "upscale", "full_quality")
    told = {key: changes.pop(key) for key in own if key in changes}
    params = replace(
        RenderParams(prompt="a boat", seed=3, num_inference_steps=2, strength=0.6), **changes
    )
    canvas = np.full((*SIZE, 4), 150, np.uint8)
    canvas[..., 3] = 255
    request = FrameRequest(params=params, extent=SIZE, canvas=canvas, canvas_version=1,
                           mask_version=1, **told)  # fmt: skip
    with mock.patch.object(engine_module, "render_extent", return_value=SIZE):
        return engine.render(request)


@pytest.mark.parametrize("name", FLOW_MODELS)
def test_every_feature_gives_the_references_latents(name: str) -> None:
    rows = list(flow_rows((name,)))
    assert len(rows) >= 4
    assert not [row for row in rows if not row.difference <= BAR]


@pytest.mark.parametrize("which", ["zimage", "sd3"])
def test_a_picture_is_guided_by_its_prompt_and_its_negative_one(
    which: str, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(which)
    assert engine.model.family == which
    plain = _render(engine)
    assert plain.sampler == "euler"
    assert plain.num_inference_steps == 2
    assert not plain.failures
    assert np.array_equal(plain.pixels, _render(engine).pixels)
    for change in ({"prompt": "a tall house"}, {"seed": 4},
                   {"guidance_scale": 3.0, "negative_prompt": "blur"}):  # fmt: skip
        assert not np.array_equal(plain.pixels, _render(engine, **change).pixels)


@pytest.mark.parametrize("which", ["zimage", "sd3"])
def test_two_prompts_of_unlike_length_blend(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    both = {"prompt": "a boat", "second_prompt": "a very tall house by the sea"}
    ends = [_render(engine, prompt=text).pixels for text in both.values()]
    between = _render(engine, **both, prompt_blend=0.5).pixels
    assert np.array_equal(_render(engine, **both, prompt_blend=0.0).pixels, ends[0])
    assert np.array_equal(_render(engine, **both, prompt_blend=1.0).pixels, ends[1])
    assert not any(np.array_equal(between, end) for end in ends)


def test_weights_of_words_mean_nothing_to_a_language_model_only(
    zimage: Engine, sd3: Engine
) -> None:
    for engine, means in ((zimage, False), (sd3, True)):
        weighed = _render(engine, prompt="a (boat:1.4)").pixels
        assert np.array_equal(weighed, _render(engine, prompt="a boat").pixels) is not means


def test_long_prompts_are_read_to_their_end(sd3: Engine) -> None:
    long = "a red boat on the sea, " * 15
    assert not np.array_equal(
        _render(sd3, prompt=long + "dawn").pixels, _render(sd3, prompt=long + "dusk").pixels
    )


@pytest.mark.parametrize("which", ["zimage", "sd3"])
def test_a_selection_is_repainted_and_nothing_else(
    which: str, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(which)
    mask = np.zeros(SIZE, np.uint8)
    mask[16:48, 16:48] = 255
    picture = _render(engine, mode=RenderMode.INPAINT, mask=mask)
    assert not picture.failures
    area = picture.area
    alpha = np.zeros(SIZE, np.uint8)
    alpha[area.y : area.bottom, area.x : area.right] = picture.pixels[..., 3]
    assert not alpha[mask == 0].any()
    # At its edge it is feathered.
    assert alpha[32, 32] == 255


def test_a_picture_is_enlarged_and_shown_while_it_is_made(zimage: Engine) -> None:
    looks: list[Any] = []
    picture = _render(zimage, upscale=UpscaleParams(factor=2.0, strength=0.3), on_look=looks.append)
    assert picture.pixels.shape[:2] == (128, 128)
    assert looks


@pytest.mark.parametrize(
    "change", [{"sampler": "lcm"}, {"sampler": "heun"}, {"schedule": "karras"}], ids=str
)
def test_a_sampler_that_it_has_not_is_refused_with_those_it_has(
    zimage: Engine, change: dict[str, str]
) -> None:
    with pytest.raises(BadInput, match="This model has no") as found:
        _render(zimage, **change)
    assert "euler" in str(found.value)


def test_control_layers_are_told_once_and_the_picture_comes(zimage: Engine) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    controls = tuple(Control(kind=kind, pixels=pixels) for kind in ("scribble", "reference"))
    picture = _render(zimage, controls=controls)
    assert np.array_equal(picture.pixels, _render(zimage).pixels)
    assert [str(each) for each in picture.failures if "control layers" in str(each)]
    assert len(picture.failures) == 1


def test_a_lora_is_laid_on_and_goes_without_a_trace(tmp_path: Path) -> None:
    made = write_zimage_folder(tmp_path / "model")
    engine = _open(tmp_path)
    name = "layers.0.attention.to_q"
    weight = made.parts["transformer"].get_submodule(name).weight
    torch.manual_seed(2)
    down, up = torch.randn(4, weight.shape[1]) * 0.2, torch.randn(weight.shape[0], 4) * 0.2
    stem = f"diffusion_model.{name}"
    save_file(
        {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, tmp_path / "ink.safetensors"
    )

    def latents(prompt: str) -> torch.Tensor:
        params = parity_params(prompt=prompt, sampler="euler")
        return latents_of(engine, FrameRequest(params=params, extent=SIZE))

    plain = latents("a boat")
    laid = latents("a boat<lora:ink:0.7>")
    with torch.no_grad():
        weight += 0.7 * up @ down
    other = tmp_path / "other"
    made.parts["transformer"].save_pretrained(other / "model" / "transformer")
    for part in ("vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"):
        source, target = tmp_path / "model" / part, other / "model" / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    merged = _open(other)
    params = parity_params(prompt="a boat", sampler="euler")
    assert gap(laid, latents_of(merged, FrameRequest(params=params, extent=SIZE))) < BAR
    assert gap(laid, plain) > 1e-3
    assert torch.equal(latents("a boat"), plain)


def _without(prefix: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = write_sd3_file(folder / "model.safetensors").path
        kept = {key: v for key, v in load_file(path).items() if not key.startswith(prefix)}
        save_file(kept, path)

    return change


def _folder_without(part: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write_zimage_folder(folder / "model")
        shutil.rmtree(folder / "model" / part)

    return change


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (_without("text_encoders.clip_g."), "text encoder"),
        (_without("first_stage_model."), "autoencoder"),
        (_without("model.diffusion_model.final_layer."), "incomplete"),
        (_folder_without("text_encoder"), "text_encoder is missing"),
        (_folder_without("vae"), "vae is missing"),
    ],
    ids=["no clip_g", "no autoencoder", "no last layer", "no text encoder", "no vae"],
)
def test_a_model_without_a_part_says_which(
    tmp_path: Path, write: Callable[[Path], None], sentence: str
) -> None:
    write(tmp_path)
    with pytest.raises(ModelCorrupt, match=sentence):
        _open(tmp_path)


def test_a_network_alone_says_what_is_missing(tmp_path: Path) -> None:
    keys = ("double_blocks.0.img_attn.qkv.weight", "img_in.weight")
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "flux.safetensors")
    with pytest.raises(ModelMissing, match="only the network of flux"):
        Library([tmp_path]).find_model("flux")


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [("qwen_3_4b.safetensors", "its text encoder"), ("ae.safetensors", "its autoencoder"),
     ("tokenizer", "its tokenizer")],
)  # fmt: skip
def test_files_apart_say_which_of_them_is_missing(
    tmp_path: Path, absent: str, sentence: str
) -> None:
    write_zimage_files(tmp_path / "model.safetensors")
    away = tmp_path / absent
    shutil.rmtree(away) if away.is_dir() else away.unlink()
    with pytest.raises(ModelCorrupt, match=f"incomplete: {sentence}"):
        _open(tmp_path)


def test_files_apart_are_found_in_any_folders_and_sd3s_autoencoder_is_not_taken(
    tmp_path: Path,
) -> None:
    made = write_zimage_files(tmp_path / "model.safetensors")
    for name, folder in (("model.safetensors", "diffusion_models"), ("ae.safetensors", "vae"),
                         ("qwen_3_4b.safetensors", "text_encoders")):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / name).rename(tmp_path / folder / name)
    other = load_file(tmp_path / "vae" / "ae.safetensors")
    save_file(
        {key: value * 0 for key, value in other.items()}, tmp_path / "vae" / "0_sd3.safetensors"
    )
    library = Library([tmp_path])
    assert [model.name for model in library.models() if model.family == "zimage"] == ["model"]
    vae: Any = load_model(library.find_model("model"), CPU).vae
    assert torch.equal(vae.decoder.conv_in.weight, made.parts["vae"].decoder.conv_in.weight)


def test_a_tokenizer_without_its_template_is_refused(tmp_path: Path) -> None:
    write_zimage_files(tmp_path / "model.safetensors")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = tmp_path / "tokenizer" / name
        if path.suffix == ".jinja":
            path.unlink(missing_ok=True)
        else:
            kept = json.loads(path.read_text())
            kept.pop("chat_template", None)
            path.write_text(json.dumps(kept))
    with pytest.raises(ModelCorrupt, match="tokenizer"):
        _open(tmp_path)


def _towers(folder: Path) -> list[str]:
    return [tower.name for tower in load_model(Library([folder]).find_model("model"), CPU).towers]


@pytest.fixture(scope="module")
def with_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_t5")
    write_sd3_file(folder / "model.safetensors", t5=True)
    return folder


def test_t5_in_the_file_is_read_where_its_words_are_and_told_of_where_not(
    with_t5: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _towers(with_t5) == ["te1", "te2", "te3"]
    shutil.copy(with_t5 / "model.safetensors", tmp_path)
    fetched = tmp_path / "environment" / "share"
    monkeypatch.setattr(sd3_files, "files_dir", lambda name: fetched / name)
    assert _towers(tmp_path) == ["te1", "te2"]
    assert "nijimi models fetch t5-words" in caplog.text
    shutil.copytree(with_t5 / "tokenizer_3", fetched / sd3_files.T5_WORDS)
    assert _towers(tmp_path) == ["te1", "te2", "te3"]


def test_t5_that_would_fill_the_memory_is_left_out(
    with_t5: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(with_t5 / "model.safetensors")
    prefix = "text_encoders.t5xxl.transformer."
    numbers = sum(torch.Size(shape).numel() for shape in header.with_prefix(prefix).values())
    # As float32, which is what this device computes in.
    for total, read in ((8 * numbers + 8, True), (8 * numbers - 8, False)):
        memory = mock.Mock(total=total)
        monkeypatch.setattr(sd3_files.psutil, "virtual_memory", lambda memory=memory: memory)
        assert ("te3" in _towers(with_t5)) is read
    assert "T5 is not read" in caplog.text


def test_t5_beside_a_file_that_has_its_own_encoders_is_not_taken(
    with_t5: Path, tmp_path: Path
) -> None:
    write_sd3_files(tmp_path / "model.safetensors")
    assert _towers(tmp_path) == ["te1", "te2", "te3"]
    (tmp_path / "model.safetensors").unlink()
    write_sd3_file(tmp_path / "model.safetensors")
    assert _towers(tmp_path) == ["te1", "te2"]


def test_a_projection_in_a_clip_file_of_its_own_is_not_sd3s(tmp_path: Path) -> None:
    write_sd3_files(tmp_path / "model.safetensors")
    clip = tmp_path / "clip_l.safetensors"
    weights = {**load_file(clip), "text_projection.weight": torch.randn(768, 768).half()}
    save_file(weights, clip)
    first = load_model(Library([tmp_path]).find_model("model"), CPU).towers[0].encoder
    assert torch.equal(first.text_projection.weight, torch.eye(768))


def test_sd3_without_text_encoders_says_which_files_it_wants(tmp_path: Path) -> None:
    write_sd3_files(tmp_path / "model.safetensors")
    (tmp_path / "clip_g.safetensors").unlink()
    with pytest.raises(ModelCorrupt, match=r"put clip_l.safetensors and clip_g.safetensors"):
        _open(tmp_path)


def test_where_the_shift_depends_on_the_size_the_middle_is_taken(zimage: Engine) -> None:
    family = flow_family(zimage._bundle)  # pyright: ignore[reportPrivateUsage]
    assert family is not None
    config = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.5}
    run = make_flow_run(family, "euler", "auto", 1.0, 4, config, torch.device("cpu"))
    assert run is not None
    # Exponential shift (Esser et al., arXiv 2403.03206, section 5.3.2): e^m / (e^m + 1 / s - 1).
    expected = [1000.0 * np.e / (np.e + 1.0 / s - 1.0) for s in (1.0, 0.75, 0.5, 0.25)]
    assert run.timesteps == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("which", ["zimage", "sd3"])
def test_live_frames_take_the_tiny_autoencoder_of_their_own_latents(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(which)
    for name, channels in (("taesd", 4), ("taesdxl", 4), ("taesd3", 16), ("taef1", 16)):
        tiny: Any = AutoencoderTiny(latent_channels=channels)
        save_file(tiny.state_dict(), tmp_path / f"{name}.safetensors")
    found = find_tiny_vae(engine.model, Library([tmp_path]))
    assert found is not None
    assert found.stem == ("taef1" if which == "zimage" else "taesd3")
    assert load_tiny_vae(found, CPU) is not None
    bundle = engine._bundle  # pyright: ignore[reportPrivateUsage]
    quick = Engine(bundle, Library([tmp_path]))
    live, full = _render(quick), _render(engine)
    assert not np.array_equal(live.pixels, full.pixels)
    assert np.array_equal(_render(quick, full_quality=True).pixels,
                          _render(engine, full_quality=True).pixels)  # fmt: skip
