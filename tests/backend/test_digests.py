"""Hashes of files that pictures were made with: found once, beside the work, and kept."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from nijimi_backend.models import digests as digests_module
from nijimi_backend.models.digests import Digests
from nijimi_backend.models.library import Library, LibraryFile
from safetensors.torch import save_file

from benchmarks.real_layout import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(folder / "sea.safetensors", "sd1")
    save_file(
        {"lora_unet_mid_block.lora_up.weight": torch.ones(4, 4)}, folder / "ink.safetensors",
        metadata={"ss_tag": "ink"},
    )  # fmt: skip
    save_file({"emb_params": torch.ones(1, 768)}, folder / "calm.safetensors")
    return folder


def _files(folder: Path) -> dict[str, LibraryFile]:
    return {file.name: file for file in Library([folder]).files()}


def test_a_checkpoint_is_hashed_whole_and_a_lora_without_its_titles(folder: Path) -> None:
    digests, files = Digests(), _files(folder)
    assert digests.known(files["sea"]) == ""
    for file in files.values():
        digests.want(file)
    digests.wait(30.0)
    whole = (folder / "sea.safetensors").read_bytes()
    assert digests.known(files["sea"]) == hashlib.sha256(whole).hexdigest()[:10]
    weights = torch.ones(4, 4).numpy().tobytes()
    assert digests.known(files["ink"]) == hashlib.sha256(weights).hexdigest()[:12]
    assert digests.known(files["calm"]) == ""


def test_what_was_found_is_kept_and_not_found_again(folder: Path, tmp_path: Path) -> None:
    kept, ink = tmp_path / "data" / "digests.json", _files(folder)["ink"]
    first = Digests(kept)
    first.want(ink)
    first.wait(10.0)
    with mock.patch.dict(digests_module._HASHES, clear=True):  # pyright: ignore[reportPrivateUsage]
        again = Digests(kept)
    assert again.known(ink) == first.known(ink) != ""
    again.want(ink)
    assert again._thread is None  # pyright: ignore[reportPrivateUsage]


def test_a_changed_file_has_another_one(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    found: list[str] = []
    digests = Digests()
    for n in (1, 2):
        save_file({"lora_unet_mid_block.lora_up.weight": torch.ones(4, 4) * n}, path)
        os.utime(path, ns=(n, n))
        file = _files(tmp_path)["ink"]
        assert digests.known(file) == ""
        digests.want(file)
        digests.wait(10.0)
        found.append(digests.known(file))
    assert all(found)
    assert found[0] != found[1]


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", json.dumps({"a": 3})])
def test_a_broken_store_is_begun_anew(folder: Path, tmp_path: Path, text: str) -> None:
    kept = tmp_path / "digests.json"
    kept.write_text(text)
    digests, ink = Digests(kept), _files(folder)["ink"]
    digests.want(ink)
    digests.wait(10.0)
    assert digests.known(ink)
    assert digests.known(ink) in kept.read_text()


def test_a_file_that_is_gone_and_a_store_that_cannot_be_written_harm_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models" / "ink.safetensors"
    path.parent.mkdir()
    save_file({"lora_unet_mid_block.lora_up.weight": torch.ones(4, 4)}, path)
    ink = _files(path.parent)["ink"]
    (tmp_path / "taken").write_text("a file, no folder")
    digests = Digests(tmp_path / "taken" / "digests.json")
    digests.want(ink)
    digests.wait(10.0)
    assert digests.known(ink)
    path.unlink()
    digests.want(ink)
    assert digests.known(ink) == ""
