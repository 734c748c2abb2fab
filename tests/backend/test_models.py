"""Models: what is on disk is found, and what is broken says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from nijimi_backend.errors import BadInput, ModelCorrupt, ModelMissing
from nijimi_backend.models import device as device_module
from nijimi_backend.models.device import SMALL_BYTES, choose_device, is_out_of_memory
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from safetensors.torch import load_file, save_file


@pytest.fixture
def broken(models_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(models_dir / "tiny", tmp_path / "broken")
    return tmp_path / "broken"


def _load(path: Path) -> None:
    load_model(Library([path.parent]).find_model(path.name), choose_device("cpu"))


def _weights(path: Path) -> Path:
    return path / "unet" / "diffusion_pytorch_model.safetensors"


def test_the_embedded_model_comes_first_and_the_folder_after_it(models_dir: Path) -> None:
    library = Library([models_dir])
    names = [model.name for model in library.models()]
    assert names == ["nijimi-mini", "tiny", "tiny-full", "tiny-inpaint", "tiny-lora"]
    assert library.models()[0].native_px == 256
    assert library.find_model("tiny").native_px == 64


def test_a_missing_model_names_those_that_are_there(models_dir: Path) -> None:
    with pytest.raises(ModelMissing, match="nijimi-mini, tiny"):
        Library([models_dir]).find_model("no-such-model")


def test_a_model_without_a_part_is_incomplete(broken: Path) -> None:
    shutil.rmtree(broken / "vae")
    with pytest.raises(ModelCorrupt, match="vae is missing"):
        _load(broken)


def test_cut_off_weights_are_damaged(broken: Path) -> None:
    data = _weights(broken).read_bytes()
    _weights(broken).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelCorrupt, match="damaged"):
        _load(broken)


def test_weights_that_are_not_numbers_are_refused(broken: Path) -> None:
    weights = load_file(_weights(broken))
    weights["conv_in.weight"] = torch.full_like(weights["conv_in.weight"], float("nan"))
    save_file(weights, _weights(broken), metadata={"format": "pt"})
    with pytest.raises(ModelCorrupt, match="not finite"):
        _load(broken)


@pytest.mark.parametrize("part", ["text_encoder", "vae"])
def test_no_network_may_hold_what_is_no_number(broken: Path, part: str) -> None:
    path = next((broken / part).glob("*.safetensors"))
    weights = load_file(path)
    name = max(weights, key=lambda key: weights[key].numel())
    weights[name] = torch.full_like(weights[name], float("inf"))
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelCorrupt, match=part):
        _load(broken)


def test_a_failed_allocation_is_known_on_the_cpu_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_weights_of_another_shape_are_refused(broken: Path) -> None:
    config = broken / "unet" / "config.json"
    values = json.loads(config.read_text())
    values["cross_attention_dim"] = 24
    config.write_text(json.dumps(values))
    with pytest.raises(ModelCorrupt):
        _load(broken)


def test_weights_of_the_fp16_variant_are_found(broken: Path) -> None:
    for path in broken.glob("*/*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    _load(broken)


@pytest.mark.parametrize(("width", "sentence"), [(1280, "refiner"), (2048, "text_encoder_2")])
def test_folders_that_are_no_whole_model_are_told(broken: Path, width: int, sentence: str) -> None:
    config = broken / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "cross_attention_dim": width}))
    with pytest.raises(ModelCorrupt, match=sentence):
        _load(broken)


def test_a_pickle_is_not_loaded(broken: Path) -> None:
    _weights(broken).unlink()
    torch.save({}, broken / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelCorrupt):
        _load(broken)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(BadInput, match="auto, cpu or cuda"):
        choose_device("abacus")


@pytest.mark.gpu
def test_a_small_model_stays_in_float32_where_bfloat16_is_quicker(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "_faster_on_cpu", lambda: torch.bfloat16)
    chosen = choose_device("cpu")
    assert chosen.dtype == torch.bfloat16
    assert chosen.for_weights(SMALL_BYTES + 1) == chosen
    bundle = load_model(Library([models_dir]).find_model("tiny"), chosen)
    assert bundle.device.dtype == torch.float32
    assert bundle.device.title.endswith("float32")
    types = {name: next(network.parameters()).dtype for name, network in bundle.networks.items()}
    assert types.pop("vae") == torch.bfloat16, "which is not packed"
    assert set(types.values()) == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_cuda_device_is_preferred() -> None:
    assert choose_device("auto").is_cuda
