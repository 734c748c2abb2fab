"""Checkpoint files of the real layouts: loaded whole, rendered as diffusers does, adapted live."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pytest
import torch
from diffusers import AutoencoderTiny
from nijimi_backend.engine import adapters
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.recipe import choose_recipe
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.engine.stages import encode_canvas
from nijimi_backend.errors import ModelCorrupt
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.recognise import FileKind
from nijimi_backend.models.tiny_vae import find_tiny_vae, load_tiny_vae
from nijimi_backend.models.tokenizer import clip_tokenizer
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from safetensors.torch import load_file, save_file

from benchmarks.parity import measure
from benchmarks.real_adapters import write_adapter, write_embedding
from benchmarks.real_layout import FAMILIES, write_checkpoint
from benchmarks.workbench import BAR, PROMPT, Workbench

SIZE = Extent(64, 64)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A small SD1 checkpoint file, loaded, with the folder that it lies in as the library."""
    made = Workbench(tmp_path_factory.mktemp("sd1"), "sd1")
    made.extent = SIZE
    return made


def _latents(bench: Workbench, **changes: Any) -> torch.Tensor:
    base = RenderParams(prompt=PROMPT, mode=RenderMode.TXT2IMG, sampler="lcm", strength=1.0)
    return bench.ours(replace(base, num_inference_steps=1, **changes))


def _render(engine: Engine, **changes: Any) -> Picture:
    base = RenderParams(prompt=PROMPT, mode=RenderMode.TXT2IMG, sampler="lcm", strength=1.0)
    params = replace(base, num_inference_steps=1, **changes)
    return engine.render(FrameRequest(params=params, extent=SIZE))


def _quick(bench: Workbench, **changes: Any) -> Picture:
    """Without packing the weights, which takes longer than the picture."""
    with bench.eager():
        return _render(bench.engine, **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_feature_gives_the_references_latents(family: str) -> None:
    rows = list(measure((family,)))
    assert len(rows) > 35
    assert not [row for row in rows if not row.difference <= BAR]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_number_types_load(tmp_path: Path, dtype: torch.dtype) -> None:
    made = write_checkpoint(tmp_path / "m.safetensors", "sd1", dtype=dtype)
    bundle = load_model(Library([tmp_path]).find_model("m"), choose_device("cpu"))
    assert torch.equal(bundle.unet.conv_in.weight.float(), made.unet.conv_in.weight)


def test_an_inpaint_checkpoint_is_known_and_renders(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m.safetensors", "sd1", in_channels=9)
    library = Library([tmp_path])
    assert load_model(library.find_model("m"), choose_device("cpu")).takes_masks
    assert library.files()[0].found.form == "inpaint"


@pytest.mark.parametrize(
    "missing",
    ["model.diffusion_model.out.2.bias", "first_stage_model.decoder.conv_in.weight",
     "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"],
)  # fmt: skip
def test_a_checkpoint_without_a_part_says_which(
    bench: Workbench, tmp_path: Path, missing: str
) -> None:
    weights = load_file(bench.made.path)
    del weights[missing]
    save_file(weights, tmp_path / "m.safetensors")
    with pytest.raises(ModelCorrupt, match="incomplete"):
        load_model(Library([tmp_path]).find_model("m"), choose_device("cpu"))


def test_what_predicts_v_is_known_by_its_file_or_the_one_beside_it(tmp_path: Path) -> None:
    def kind() -> object:
        bundle = load_model(Library([tmp_path]).find_model("m"), choose_device("cpu"))
        return bundle.scheduler_config["prediction_type"]

    path = tmp_path / "m.safetensors"
    write_checkpoint(path, "sd2")
    assert kind() == "epsilon"
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert kind() == "v_prediction"
    path.with_suffix(".yaml").unlink()
    weights = load_file(path)
    mark = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    weights[mark] = torch.randn_like(weights[mark]) * 0.2
    save_file(weights, path)
    assert kind() == "v_prediction"


def test_the_vocabulary_is_openais() -> None:
    """Against the tokenizer that OpenAI published with CLIP, loaded as a file of its own."""
    found = importlib.util.find_spec("clip")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "simple_tokenizer.py"
    spec = importlib.util.spec_from_file_location("clip_simple_tokenizer", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["clip_simple_tokenizer"] = module
    spec.loader.exec_module(module)
    theirs, ours = module.SimpleTokenizer(), clip_tokenizer()
    assert len(ours) == len(theirs.encoder) == 49408
    for text in (
        "a photo of a cat",
        "it's 1234!",
        "Ünïcode, 日本語",
        "dslr—bokeh (f/1.8)",
        "😀 <3",
    ):
        assert ours(text, add_special_tokens=False).input_ids == theirs.encode(text)


def test_a_lora_in_the_prompt_changes_the_picture_and_goes_without_a_trace(
    bench: Workbench,
) -> None:
    write_adapter(bench.folder / "ink.safetensors", "lora-kohya", bench.made)
    before = _latents(bench)
    full = _latents(bench, prompt=f"{PROMPT} <lora:ink:4>")
    none = _latents(bench, prompt=f"{PROMPT} <lora:ink:0>")
    half = full
    for n in range(20):
        half = _latents(bench, prompt=f"{PROMPT} <lora:ink:{n / 10}>")
    after = _latents(bench)
    assert not torch.equal(full, before)
    assert not torch.equal(half, full)
    # The words are the same but for a blank, which is no token.
    assert torch.equal(none, before)
    assert torch.equal(after, before)


def test_text_and_unet_have_weights_of_their_own(bench: Workbench) -> None:
    write_adapter(bench.folder / "ink.safetensors", "lora-kohya", bench.made)
    plain, unet, text = (
        _latents(bench, prompt=f"{PROMPT} <lora:ink:{w}>") for w in ("0:0", "5:0", "0:5")
    )
    assert not torch.equal(plain, unet)
    assert not torch.equal(plain, text)
    assert not torch.equal(unet, text)


def test_adapters_that_cannot_be_are_told_and_the_picture_comes(
    bench: Workbench, tmp_path: Path
) -> None:
    other = write_checkpoint(tmp_path / "xl.safetensors", "sdxl")
    write_adapter(bench.folder / "for-xl.safetensors", "lora-kohya", other)
    write_embedding(bench.folder / "xl-style.safetensors", other)
    (bench.folder / "cut.safetensors").write_bytes(b"\x00" * 40)
    prompt = f"{PROMPT} xl-style <lora:nothing:1> <lora:for-xl:1> <lora:cut:1> __no__"
    with mock.patch.object(adapters, "read_lora", side_effect=adapters.read_lora) as read:
        made = [_quick(bench, prompt=prompt) for _ in range(3)][-1]
    assert read.call_count <= 1, "a file that cannot be used is read at every frame"
    told = " ".join(str(failure) for failure in made.failures)
    for part in ("no LoRA named 'nothing'", "for-xl is for sdxl", "wildcard file no.txt",
                 "xl-style is not for the model", "no LoRA named 'cut'"):  # fmt: skip
        assert part in told
    for name in ("for-xl", "xl-style", "cut"):
        (bench.folder / f"{name}.safetensors").unlink()


def test_an_lcm_lora_makes_a_plain_checkpoint_live(bench: Workbench) -> None:
    params = RenderParams(prompt=PROMPT)
    plain = choose_recipe(params, (), bench.bundle, bench.library)
    assert (plain.sampler, plain.adapters) == ("euler_a", ())
    path = bench.folder / "lcm-lora-sdv1-5.safetensors"
    write_adapter(path, "lora-kohya", bench.made)
    try:
        live = choose_recipe(params, (), bench.bundle, bench.library)
        assert live.sampler == "lcm"
        assert [use.name for use in live.adapters] == ["lcm-lora-sdv1-5"]
        slow = choose_recipe(replace(params, sampler="dpmpp_2m"), (), bench.bundle, bench.library)
        assert (slow.sampler, slow.adapters) == ("dpmpp_2m", ())
        named = choose_recipe(params, live.adapters, bench.bundle, bench.library)
        assert named.adapters == live.adapters
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dream-lightning", ("euler", "trailing")), ("sd_turbo", ("euler_a", "trailing")),
     ("hyper-sd", ("tcd", "normal")), ("dreamshaper", ("euler_a", "auto"))],
)  # fmt: skip
def test_models_of_few_steps_get_their_own_sampler(
    bench: Workbench, name: str, expected: tuple[str, str]
) -> None:
    bundle = replace(bench.bundle, info=replace(bench.bundle.info, name=name))
    recipe = choose_recipe(RenderParams(), (), bundle, None)
    assert (recipe.sampler, recipe.schedule) == expected


def test_a_prompt_that_changes_by_step_is_followed(bench: Workbench) -> None:
    """Until the change it is the first, from then on the second."""
    steps: dict[str, Any] = {"num_inference_steps": 2}
    base = RenderParams(mode=RenderMode.TXT2IMG, sampler="euler", strength=1.0, **steps)
    first, second, both, late = (
        bench.ours(replace(base, prompt=text))
        for text in ("a cat", "a dog", "a [cat:dog:0.5]", "a [cat:dog:2]")
    )
    assert torch.equal(late, first)
    assert not torch.equal(both, first)
    assert not torch.equal(both, second)


def test_two_prompts_blend(bench: Workbench) -> None:
    ends = [_latents(bench, prompt=text) for text in ("a cat", "a dog")]
    both: dict[str, Any] = {"prompt": "a cat", "second_prompt": "a dog"}
    at = [_latents(bench, prompt_blend=part, **both) for part in (0.0, 0.5, 1.0)]
    assert torch.equal(at[0], ends[0])
    assert torch.allclose(at[2], ends[1], atol=1e-4)
    assert not torch.allclose(at[1], ends[0], atol=1e-4)
    assert not torch.allclose(at[1], ends[1], atol=1e-4)


def test_long_prompts_and_short_negatives_go_together(bench: Workbench) -> None:
    long = "a boat on the sea, " * 40
    made = _quick(bench, prompt=long, negative_prompt="fog", guidance_scale=3.0)
    assert made.pixels.shape[2] == 4
    assert made.failures == ()


def test_switching_models_leaves_nothing_behind(models_dir: Path) -> None:
    """Neither tensors nor memory: the graph of a traced network alone takes 10 MB."""
    process, library = psutil.Process(), Library([models_dir])
    tensors: list[int] = []
    memory: list[int] = []
    for n in range(16):
        name = ("tiny", "tiny-full")[n % 2]
        engine = Engine(load_model(library.find_model(name), choose_device("cpu")), library)
        _render(engine)
        del engine
        gc.collect()
        tensors.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
        memory.append(process.memory_info().rss)
    assert tensors[-1] == tensors[3]
    assert memory[-1] - memory[3] < 30e6


def test_pictures_of_a_checkpoint_are_pictures(bench: Workbench) -> None:
    made = _quick(bench)
    assert made.pixels.dtype == np.uint8
    assert made.pixels[..., 3].min() == 255


def test_live_frames_take_a_tiny_autoencoder_and_exact_ones_the_full(
    bench: Workbench, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    shutil.copy(bench.made.path, tmp_path / "m.safetensors")
    save_file(AutoencoderTiny().state_dict(), tmp_path / "taesd.safetensors")
    save_file(AutoencoderTiny().state_dict(), tmp_path / "taesdxl.safetensors")
    library = Library([tmp_path])
    engine = Engine(load_model(library.find_model("m"), choose_device("cpu")), library)
    params = RenderParams(prompt=PROMPT, mode=RenderMode.TXT2IMG, sampler="lcm", strength=1.0)
    request = FrameRequest(params=replace(params, num_inference_steps=1), extent=SIZE)
    with bench.eager():
        live = engine.render(request).pixels
        exact = engine.render(replace(request, exact=True)).pixels
        refined = engine.render(replace(request, full_quality=True)).num_inference_steps
    assert live.shape == exact.shape
    assert not np.array_equal(live, exact)
    assert np.array_equal(exact, _quick(bench).pixels)
    assert refined > 1


@pytest.mark.parametrize("form", ["decoder alone", "two files", "one file"])
def test_the_original_tiny_autoencoder_is_read_too(
    bench: Workbench, tmp_path: Path, form: str
) -> None:
    torch.manual_seed(2)
    made: Any = AutoencoderTiny()
    decoder: dict[str, torch.Tensor] = {}
    for key, value in made.decoder.layers.state_dict().items():
        number, rest = key.split(".", 1)
        decoder[f"{int(number) + 1}.{rest}"] = value
    encoder: dict[str, torch.Tensor] = made.encoder.layers.state_dict()
    if form == "one file":
        decoder = {f"decoder.{key}": value for key, value in decoder.items()}
        decoder |= {f"encoder.{key}": value for key, value in encoder.items()}
    save_file(decoder, tmp_path / "taesd_decoder.safetensors")
    if form == "two files":
        save_file(encoder, tmp_path / "taesd_encoder.safetensors")
    library = Library([tmp_path])
    path = tmp_path / "taesd_decoder.safetensors"
    assert find_tiny_vae(bench.bundle.info, library) == path
    loaded: Any = load_tiny_vae(path, choose_device("cpu"))
    latents, rgb = torch.randn(1, 4, 8, 8), np.full((64, 64, 3), 90, np.uint8)
    with torch.inference_mode():
        assert torch.allclose(loaded.decode(latents).sample, made.decode(latents).sample, atol=1e-5)
        # What only decodes leaves the canvas to the model's own encoder.
        encoder_of = None if form == "decoder alone" else made
        ours, theirs = (encode_canvas(bench.bundle, rgb, vae) for vae in (loaded, encoder_of))
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_broken_tiny_autoencoder_is_left_out(bench: Workbench, tmp_path: Path) -> None:
    shutil.copy(bench.made.path, tmp_path / "m.safetensors")
    weights = AutoencoderTiny().state_dict()
    del weights["decoder.layers.2.conv.0.weight"]
    save_file(weights, tmp_path / "taesd.safetensors")
    library = Library([tmp_path])
    assert FileKind.TAESD in {file.found.kind for file in library.files()}
    engine = Engine(load_model(library.find_model("m"), choose_device("cpu")), library)
    with bench.eager():
        assert np.array_equal(_render(engine).pixels, _quick(bench).pixels)


def test_an_autoencoder_beside_the_checkpoint_takes_the_place_of_its_own(
    bench: Workbench, tmp_path: Path
) -> None:
    shutil.copy(bench.made.path, tmp_path / "m.safetensors")
    prefix = "first_stage_model."
    own = {key.removeprefix(prefix): value for key, value in load_file(bench.made.path).items()
           if key.startswith(prefix)}  # fmt: skip
    own["decoder.conv_out.bias"] = torch.full_like(own["decoder.conv_out.bias"], 0.5)
    save_file(own, tmp_path / "m.vae.safetensors")
    library = Library([tmp_path])
    bundle = load_model(library.find_model("m"), choose_device("cpu"))
    loaded = bundle.vae.state_dict()["decoder.conv_out.bias"]
    assert torch.equal(loaded, torch.full((3,), 0.5))
    assert {file.name: file.found.kind for file in library.files()}["m.vae"] is FileKind.VAE
