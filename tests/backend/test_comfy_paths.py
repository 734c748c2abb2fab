"""The folders that ComfyUI's configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest
from nijimi_backend.models.comfy_paths import extra_folders
from nijimi_backend.models.library import open_library

from tests.support.upscaler_files import write_esrgan


def _write(comfy: Path, text: str) -> None:
    (comfy / "models").mkdir(parents=True, exist_ok=True)
    (comfy / "extra_model_paths.yaml").write_text(text, encoding="utf-8")


def test_folders_are_relative_to_their_section_and_read_once(tmp_path: Path) -> None:
    comfy, webui, far = tmp_path / "ComfyUI", tmp_path / "webui", tmp_path / "far"
    for folder in (webui / "models" / "Lora", webui / "models" / "LyCORIS", far, comfy / "mine",
                   comfy / "custom_nodes"):  # fmt: skip
        folder.mkdir(parents=True)
    _write(
        comfy,
        f"""
a111:
    base_path: {webui}
    is_default: true
    checkpoints: models/Stable-diffusion
    loras: |
        models/Lora
        models/LyCORIS
    again: models/Lora
    custom_nodes: {comfy}/custom_nodes
other:
    vae: mine
    upscale_models: {far}
""",
    )
    folders = extra_folders(comfy)
    assert folders == (
        webui / "models" / "Lora", webui / "models" / "LyCORIS", comfy / "mine", far,
    )  # fmt: skip


def test_what_lies_there_is_found(tmp_path: Path) -> None:
    comfy, far = tmp_path / "ComfyUI", tmp_path / "far"
    write_esrgan(far / "four.safetensors")
    _write(comfy, f"one:\n  base_path: {far}\n  upscale_models: .\n")
    library = open_library(tmp_path / "own", [comfy], tmp_path / "home")
    assert [file.name for file in library.files()] == ["four"]


def test_the_users_folder_and_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS_AT", str(tmp_path / "large"))
    for name in ("one", "large"):
        (tmp_path / name).mkdir()
    _write(tmp_path / "ComfyUI", "a:\n  base_path: ~/\n  vae: one\nb:\n  vae: $MODELS_AT\n")
    assert extra_folders(tmp_path / "ComfyUI") == (tmp_path / "one", tmp_path / "large")


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "a: [1, 2]\n", "a: {b: 3}\n", "a: {: :\n", "\x00", "a: " + "[" * 20_000,
     "x" * 300_000, "a: !!python/object/apply:os.system ['true']\n"],
    ids=["empty", "a list", "no section", "no text", "broken", "control", "deep", "large", "code"],
)  # fmt: skip
def test_a_file_that_makes_no_sense_names_none(tmp_path: Path, text: str) -> None:
    _write(tmp_path, text)
    assert extra_folders(tmp_path) == ()


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert extra_folders(tmp_path) == ()
