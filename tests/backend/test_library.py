"""The library: files are known by what is in them, and bad ones are named without harm."""

from __future__ import annotations

import json
import pickle
import struct
import time
import zipfile
from pathlib import Path

import pytest
import torch
from nijimi_backend.errors import ModelCorrupt, ModelMissing
from nijimi_backend.models.headers import file_sha256, read_header
from nijimi_backend.models.library import Library, open_library
from nijimi_backend.models.recognise import FileKind, recognise
from nijimi_backend.models.weight_files import iterate_weights, read_weights
from safetensors.torch import save_file

from tests.support.tiny_model import write_tiny_model


def _save(path: Path, **shapes: tuple[int, ...]) -> Path:
    """A file of zeros; ``__`` in a name stands for a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}
    save_file(tensors, path)
    return path


_UNET = {"model__diffusion_model__input_blocks__0__0__weight": (32, 4, 3, 3)}
_READS = "model__diffusion_model__input_blocks__1__1__transformer_blocks__0__attn2__to_k__weight"


@pytest.mark.parametrize(
    ("shapes", "kind", "family", "form"),
    [
        ({**_UNET, _READS: (32, 768)}, "checkpoint", "sd1", ""),
        ({**_UNET, _READS: (32, 1024)}, "checkpoint", "sd2", ""),
        ({**_UNET, _READS: (32, 2048)}, "checkpoint", "sdxl", ""),
        ({**_UNET, _READS: (32, 1280)}, "checkpoint", "sdxl-refiner", ""),
        ({**_UNET, _READS: (32, 2048), "v_pred": (0,)}, "checkpoint", "sdxl", "v"),
        (
            {"model__diffusion_model__input_blocks__0__0__weight": (32, 9, 3, 3),
             _READS: (32, 768)}, "checkpoint", "sd1", "inpaint",
        ),
        (
            {"model__diffusion_model__joint_blocks__0__context_block__attn__qkv__weight": (3, 1)},
            "checkpoint", "sd3", "",
        ),
        ({"double_blocks__0__img_attn__qkv__weight": (3, 1)}, "transformer", "flux", ""),
        (
            {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
             "__lora_down__weight": (4, 768)}, "lora", "sd1", "",
        ),
        (
            {"unet__down_blocks__1__attentions__0__transformer_blocks__0__attn2__to_k__lora_A"
             "__weight": (4, 2048)}, "lora", "sdxl", "",
        ),
        ({"lora_te2_text_model_x__lora_up__weight": (4, 4)}, "lora", "sdxl", ""),
        ({"lora_unet_x__hada_w1_a": (4, 4)}, "lora", "", ""),
        ({"emb_params": (3, 768)}, "embedding", "sd1", ""),
        ({"clip_l": (3, 768), "clip_g": (3, 1280)}, "embedding", "sdxl", ""),
        (
            {"decoder__conv_in__weight": (8, 4, 3, 3),
             "decoder__up__0__block__0__conv1__weight": (8, 8, 3, 3)}, "vae", "", "",
        ),
        ({"decoder__layers__0__weight": (64, 4, 3, 3)}, "taesd", "", ""),
        ({"control_model__zero_convs__0__0__weight": (8, 8, 1, 1)}, "controlnet", "", ""),
        ({"image_proj__proj__weight": (8, 8), "ip_adapter__1__to_k_ip__weight": (8, 768)},
         "ip-adapter", "sd1", ""),
        ({"conv_first__weight": (64, 3, 3, 3)}, "upscaler", "", ""),
        ({"something": (2, 2, 2)}, "unknown", "", ""),
    ],
)  # fmt: skip
def test_files_are_known_by_their_tensors(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], kind: str, family: str, form: str
) -> None:
    found = recognise(read_header(_save(tmp_path / "whatever.safetensors", **shapes)))
    assert (found.kind.value, found.family, found.form) == (kind, family, form)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("/tmp/nijimi-was-run", "w")


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", b"\0" * 10_000_000)


def _claims(size: int, rest: bytes = b"{}") -> bytes:
    return struct.pack("<Q", size) + rest


def _header(value: object, data: bytes = b"") -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x01\x02", "cut off"),
        (_claims(2**60), "cut off"),
        (_claims(2**64 - 1), "cut off"),
        (_claims(2), "damaged|is"),
        (pickle.dumps(_Evil(), protocol=2), "pickle"),
        (pickle.dumps(_Evil(), protocol=4), "pickle"),
        (b"<!DOCTYPE html><html>sign in</html>" + b" " * 99, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer"),
        (_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), "damaged"),
        (_header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}}, b"12345678"),
         "damaged"),
        (_header({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, b"12345678"),
         "damaged"),
        (_header([1, 2, 3]), "damaged"),
    ],
)  # fmt: skip
def test_bad_files_are_named_and_nothing_of_them_runs(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    if sentence == "damaged|is":
        # A file of no tensors at all is whole, and of no use.
        assert recognise(read_header(path)).kind is FileKind.UNKNOWN
        return
    with pytest.raises(ModelCorrupt, match=sentence) as caught:
        read_header(path)
    assert "bad.safetensors" in caught.value.sentence
    assert caught.value.action
    assert not Path("/tmp/nijimi-was-run").exists()
    library = Library([tmp_path])
    assert [file.trouble for file in library.files()] == [str(caught.value)]
    with pytest.raises(ModelMissing, match=sentence):
        library.find_model("bad")


def test_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    _zip_bomb(tmp_path / "bomb.safetensors")
    with pytest.raises(ModelCorrupt, match="pickle"):
        read_header(tmp_path / "bomb.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    tensor = torch.ones(100, 100, dtype=dtype)
    tensor[50, 50] = value
    save_file({"good": torch.ones(3), "bad": tensor}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    with pytest.raises(ModelCorrupt, match=r"not finite \(bad\)"):
        read_weights(header, {key: key for key in header.shapes})


def test_large_numbers_are_finite(tmp_path: Path) -> None:
    """A sum of them is not in their own type."""
    save_file({"a": torch.full((400, 400), 3e38)}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert len(read_weights(header, {"a": "a"})) == 1


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"t{n}": torch.ones(64, 64) for n in range(4)}, path)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelCorrupt, match="damaged"):
        list(iterate_weights(header, header.shapes))


def test_fp8_weights_come_with_their_scales(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    path = tmp_path / "x.safetensors"
    save_file(
        {"a.weight": values.to(torch.float8_e4m3fn), "a.scale_weight": torch.tensor(0.25),
         "b.weight": values.to(torch.float8_e5m2)}, path,
    )  # fmt: skip
    header = read_header(path)
    read = read_weights(header, {"a.weight": "a", "b.weight": "b"}, torch.float32)
    assert torch.equal(read["a"], values * 0.25)
    assert torch.equal(read["b"], values)


def test_folders_of_other_programs_are_found_and_read(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    comfy = home / "ComfyUI" / "models"
    forge = home / "stable-diffusion-webui-forge"
    _save(comfy / "checkpoints" / "deep" / "dream.safetensors", **_UNET, **{_READS: (32, 768)})
    _save(comfy / "loras" / "ink.safetensors", lora_te2_text_model_x__lora_up__weight=(4, 4))
    _save(forge / "models" / "Stable-diffusion" / "xl.safetensors", **_UNET,
          **{_READS: (32, 2048)})  # fmt: skip
    _save(forge / "embeddings" / "calm.safetensors", emb_params=(3, 768))
    _save(tmp_path / "named" / "two.safetensors", **_UNET, **{_READS: (32, 1024)})
    write_tiny_model(own / "tiny")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    library = open_library(own, [tmp_path / "named"], home)
    assert [(model.name, model.family) for model in library.models()] == [
        ("nijimi-mini", "mini"), ("tiny", "mini"), ("two", "sd2"), ("dream", "sd1"),
        ("xl", "sdxl"),
    ]  # fmt: skip
    assert {(file.name, file.found.kind.value) for file in library.files()} >= {
        ("ink", "lora"), ("calm", "embedding"),
    }  # fmt: skip
    assert library.find_model("xl").native_px == 1024
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_prompts_name_files_in_any_case_and_with_folders(tmp_path: Path) -> None:
    _save(
        tmp_path / "Loras" / "Ink Wash.safetensors", lora_te2_text_model_x__lora_up__weight=(4, 4)
    )
    library = Library([tmp_path])
    kinds = [FileKind.LORA]
    for name in ("ink wash", "INK WASH", "Ink Wash.safetensors", "loras/ink wash"):
        file = library.find(kinds, name)
        assert file is not None, name
        assert file.path.name == "Ink Wash.safetensors"
    assert library.find(kinds, "wash") is None
    assert library.find(kinds, "other/ink wash") is None
    assert library.find([FileKind.EMBEDDING], "ink wash") is None


def test_a_file_that_is_dropped_in_appears_and_one_taken_out_goes(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    library = Library([tmp_path])
    assert library.files() == ()
    version = library.version
    assert not library.changed()
    path = _save(tmp_path / "loras" / "a.safetensors", emb_params=(1, 768))
    assert library.changed()
    assert [file.name for file in library.files()] == ["a"]
    assert library.version != version
    path.unlink()
    assert library.files() == ()
    time.sleep(0.01)
    _save(tmp_path / "new" / "b.safetensors", emb_params=(1, 768))
    assert [file.name for file in library.files()] == ["b"]


def test_a_checkpoint_that_cannot_be_painted_with_says_what_it_is(tmp_path: Path) -> None:
    path = _save(tmp_path / "refiner.safetensors", **_UNET, **{_READS: (32, 1280)})
    with pytest.raises(ModelMissing, match="checkpoint"):
        Library([tmp_path]).find_model("refiner")
    with pytest.raises(ModelMissing, match="Choose a checkpoint"):
        Library([]).find_model(str(path))


def test_the_hash_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")
