"""Merging: what the formulas say, tensor by tensor, and nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nijimi_backend.cli import main
from nijimi_backend.models.headers import read_header
from nijimi_backend.models.merge import BLOCKS
from safetensors.torch import load_file, save_file

_READS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_NAMES = {
    "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
    _READS: (8, 768),
    "model.diffusion_model.middle_block.0.in_layers.0.weight": (8,),
    "model.diffusion_model.output_blocks.11.0.in_layers.0.weight": (8,),
    "model.diffusion_model.out.2.bias": (4,),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (8,),
    "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
}


def _write(path: Path, seed: int, **changes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    made = {name: torch.randn(shape) for name, shape in {**_NAMES, **changes}.items()}
    save_file(made, path, metadata={"modelspec.license": "CC0"})
    return made


@pytest.fixture
def made(tmp_path: Path) -> list[dict[str, torch.Tensor]]:
    return [_write(tmp_path / f"{name}.safetensors", n) for n, name in enumerate("abc")]


def _merge(folder: Path, names: str, *words: str) -> int:
    files = [str(folder / f"{name}.safetensors") for name in names]
    out = str(folder / "out.safetensors")
    return main(["models", "merge", *files, "--type", "fp32", "-o", out, *words])


def test_two_are_summed_and_three_add_a_difference(
    tmp_path: Path, made: list[dict[str, torch.Tensor]]
) -> None:
    a, b, c = made
    assert _merge(tmp_path, "ab", "--alpha", "0.25") == 0
    merged = load_file(tmp_path / "out.safetensors")
    assert set(merged) == set(a)
    for key, value in merged.items():
        is_vae = key.startswith("first_stage_model.")
        assert torch.allclose(value, a[key] if is_vae else 0.75 * a[key] + 0.25 * b[key], atol=1e-6)
    metadata = read_header(tmp_path / "out.safetensors").metadata
    assert metadata["modelspec.merged_from"] == "a, b"
    assert metadata["modelspec.license"] == "CC0"
    (tmp_path / "out.safetensors").unlink()
    assert _merge(tmp_path, "abc", "--alpha", "0.8") == 0
    merged = load_file(tmp_path / "out.safetensors")
    assert torch.allclose(merged[_READS], a[_READS] + 0.8 * (b[_READS] - c[_READS]), atol=1e-6)


def test_each_block_has_its_own_weight(tmp_path: Path, made: list[dict[str, torch.Tensor]]) -> None:
    weights = [n / 100 for n in range(len(BLOCKS))]
    assert _merge(tmp_path, "ab", "--blocks", ",".join(map(str, weights))) == 0
    merged = load_file(tmp_path / "out.safetensors")
    expected = {
        "input_blocks.0.": "IN00",
        "input_blocks.1.": "IN01",
        "middle": "M00",
        "output_blocks.11.": "OUT11",
        "out.2": "BASE",
        "final_layer_norm": "BASE",
    }
    for part, block in expected.items():
        key = next(name for name in _NAMES if part in name)
        weight = weights[BLOCKS.index(block)]
        assert torch.allclose(merged[key], torch.lerp(made[0][key], made[1][key], weight))


def test_a_smaller_type_is_written(tmp_path: Path, made: list[dict[str, torch.Tensor]]) -> None:
    out = tmp_path / "half.safetensors"
    files = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert main(["models", "merge", *files, "--type", "bf16", "-o", str(out)]) == 0
    merged = load_file(out)
    assert {value.dtype for value in merged.values()} == {torch.bfloat16}
    expected = torch.lerp(made[0][_READS], made[1][_READS], 0.5).bfloat16()
    assert torch.equal(merged[_READS], expected)


@pytest.mark.parametrize(
    ("names", "words", "sentence"),
    [("a", [], "1 files"), ("ab", ["--blocks", "1,2"], "2 weights"),
     ("ab", ["--blocks", "x"], "no weights"), ("ab", ["--alpha", "nan"], "out of range"),
     ("ax", [], "for sdxl"), ("ae", [], "no checkpoint"), ("ai", [], "differ in shape"),
     ("am", [], "cut off")],
)  # fmt: skip
def test_what_cannot_be_merged_is_told_and_leaves_nothing(
    tmp_path: Path, made: list[dict[str, torch.Tensor]], capsys: pytest.CaptureFixture[str],
    names: str, words: list[str], sentence: str,
) -> None:  # fmt: skip
    assert made
    _write(tmp_path / "x.safetensors", 5, **{_READS: (8, 2048)})
    _write(tmp_path / "i.safetensors", 6,
           **{"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)})  # fmt: skip
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "e.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"\x7f" * 99)
    assert _merge(tmp_path, names, *words) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
