"""``nijimi models``: lists, tells, checks and converts what is on disk; nothing of it is run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from nijimi_backend.cli import main
from nijimi_backend.models_command import trigger_words
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loras").mkdir()
    save_file(
        {"lora_te2_text_model_x.lora_up.weight": torch.ones(4, 4)},
        tmp_path / "loras" / "ink.safetensors",
        metadata={"modelspec.license": "CC0", "modelspec.trigger_phrase": "ink wash, sumi-e"},
    )
    save_file({"emb_params": torch.ones(2, 768)}, tmp_path / "calm.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x7f" * 30)
    return tmp_path


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["models", *words])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_the_list_shows_kinds_families_and_trouble(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = _run(capsys, "list", "--models-dir", str(folder), "--json")
    rows = {row["name"]: row for row in json.loads(text)}
    assert code == 0
    assert rows["ink"]["kind"] == "lora"
    assert rows["ink"]["family"] == "sdxl"
    assert rows["calm"]["kind"] == "embedding"
    assert rows["nijimi-mini"]["kind"] == "checkpoint"
    assert "cut off" in rows["cut"]["trouble"]
    code, text = _run(capsys, "list", "--models-dir", str(folder), "--kind", "lora")
    assert "ink" in text
    assert "calm" not in text


def test_info_tells_hash_licence_and_trigger_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = _run(capsys, "info", "INK", "--models-dir", str(folder), "--json")
    facts = json.loads(text)
    assert code == 0
    assert facts["licence"] == "CC0"
    assert facts["trigger words"] == ["ink wash", "sumi-e"]
    assert len(facts["sha256"]) == 64
    code, text = _run(capsys, "info", "nothing", "--models-dir", str(folder))
    assert code == 2
    assert "no file named 'nothing'" in text


def test_trigger_words_are_the_most_frequent_tags() -> None:
    tags = {"10_ink": {"ink": 30, "boat": 7}, "5_sea": {"boat": 40}}
    assert trigger_words({"ss_tag_frequency": json.dumps(tags)}) == ["boat", "ink"]
    assert trigger_words({"ss_tag_frequency": "[1, 2"}) == []
    assert trigger_words({}) == []


def test_verify_reads_every_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"emb_params": torch.full((2, 768), float("nan"))}, folder / "nan.safetensors")
    code, text = _run(capsys, "verify", "--models-dir", str(folder))
    assert code == 1
    lines = [line for line in text.splitlines() if line.startswith(("ok", "BAD"))]
    assert {line.split()[0] + Path(line.split()[1]).stem for line in lines} == {
        "okink", "okcalm", "BADcut", "BADnan",
    }  # fmt: skip
    assert _run(capsys, "verify", "calm", "--models-dir", str(folder))[0] == 0


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({"state_dict": {"model.a": torch.ones(2), "step": 3}}, ["model.a"]),
        (
            {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 768)},
             "name": "calm"}, ["emb_params"],
        ),
        ({320: [1], 768: {"0": {"linear.weight": torch.ones(2)}}}, ["768.0.linear.weight"]),
        (torch.ones(3), ["emb_params"]),
    ],
)  # fmt: skip
def test_pickles_are_converted_to_their_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Any, keys: list[str]
) -> None:
    torch.save(value, tmp_path / "old.pt")
    code, text = _run(capsys, "convert", str(tmp_path / "old.pt"))
    assert code == 0, text
    assert sorted(load_file(tmp_path / "old.safetensors")) == keys
    assert not (tmp_path / "old.safetensors.part").exists()


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("form", ["torch", "plain"])
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "evil.ckpt"
    value = {"state_dict": {"a": torch.ones(2)}, "more": _Evil(mark)}
    if form == "torch":
        torch.save(value, path)
    else:
        path.write_bytes(pickle.dumps(_Evil(mark)))
    code, text = _run(capsys, "convert", str(path))
    assert code == 2
    assert "could be a program" in text
    assert not mark.exists()
    assert not path.with_suffix(".safetensors").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    code, text = _run(capsys, "convert", str(path))
    assert code == 2
    assert "unpacks to 50,000,000 bytes" in text


def test_what_is_no_pickle_and_what_is_there_already_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"garbage" * 100)
    code, text = _run(capsys, "convert", str(path))
    assert code == 2
    assert "was not converted" in text
    torch.save({"a": torch.ones(1)}, path)
    (tmp_path / "x.safetensors").write_text("mine")
    code, text = _run(capsys, "convert", str(path))
    assert code == 2
    assert "exists already" in text
    assert (tmp_path / "x.safetensors").read_text() == "mine"
    assert _run(capsys, "convert", str(tmp_path / "none.pt"))[0] == 2
