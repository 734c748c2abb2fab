"""A picture that is dropped on the docker brings its settings along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi.contents import Contents
from nijimi.model.picture_settings import follow_picture, read_text
from nijimi.model.settings import Settings
from nijimi.qt import QtCore, QtGui, QtWidgets
from nijimi_protocol.messages import ModelEntry, Models
from PIL import Image, PngImagePlugin

TEXT = (
    "a boat (red:1.2)\nNegative prompt: fog\nSteps: 7, Sampler: Euler a, CFG scale: 6.5, "
    "Seed: 123, Size: 512x512, Model: seaside, Denoising strength: 0.45, Clip skip: 2"
)


def _picture(path: Path, text: str = "", *, is_long: bool = False, is_packed: bool = False) -> Path:
    info = PngImagePlugin.PngInfo()
    if text:
        # Beyond Latin 1 the web UIs write iTXt, as Pillow does.
        if is_long:
            info.add_itxt("parameters", text, zip=is_packed)
        else:
            info.add_text("parameters", text, zip=is_packed)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
def test_the_text_of_a_png_is_found(tmp_path: Path, is_long: bool, is_packed: bool) -> None:
    text = TEXT.replace("boat", "船") if is_long else TEXT
    path = _picture(tmp_path / "a.png", text, is_long=is_long, is_packed=is_packed)
    assert read_text(str(path)) == text
    assert read_text(str(_picture(tmp_path / "b.png"))) == ""
    assert read_text(str(tmp_path / "none.png")) == ""


def test_a_text_that_unpacks_to_gigabytes_is_none(tmp_path: Path) -> None:
    path = _picture(tmp_path / "bomb.png", "a" * 30_000_000, is_packed=True)
    assert path.stat().st_size < 100_000
    assert read_text(str(path)) == ""


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_passed_over(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.mktemp("png") / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert isinstance(read_text(str(path)), str)


def test_settings_are_taken_over_and_a_missing_model_is_said() -> None:
    settings = Settings()
    problem = follow_picture(TEXT, settings, ["nijimi-mini"])
    assert problem is not None
    assert "seaside" in problem[0]
    assert settings.get("prompt") == "a boat (red:1.2)"
    assert settings.get("negative_prompt") == "fog"
    assert settings.get("num_inference_steps") == 7
    assert settings.get("sampler") == "euler_a"
    assert settings.get("guidance_scale") == 6.5
    assert settings.get("seed") == 123
    assert settings.get("strength") == 0.45
    assert settings.get("clip_skip") == 2
    assert settings.get("model") == ""
    assert follow_picture(TEXT, settings, ["seaside"]) is None
    assert settings.get("model") == "seaside"


def test_a_vae_that_a_picture_names_is_taken_where_it_is_here() -> None:
    settings = Settings()
    text = TEXT.replace("Model: ", "VAE: soft, Model: ")
    assert text != TEXT
    follow_picture(text, settings, ["seaside"])
    assert settings.get("vae") == ""
    follow_picture(text, settings, ["seaside"], ["soft"])
    assert settings.get("vae") == "soft"
    follow_picture(TEXT, settings, ["seaside"], ["soft"])
    assert settings.get("vae") == "soft"


def test_a_picture_without_settings_changes_nothing() -> None:
    settings = Settings()
    settings.set("prompt", "mine")
    before = settings.params()
    for text in ("", "a photo of mine", "Steps"):
        assert follow_picture(text, settings, []) is not None
    assert settings.params() == before


@pytest.fixture
def contents(make_contents: Callable[[], Contents]) -> Contents:
    contents = make_contents()
    contents.models.take(
        Models(models=(ModelEntry(name="seaside", title="S", family="sd1", native_px=512),))
    )
    return contents


def _drop(widget: Any, path: Path) -> None:
    data = QtCore.QMimeData()
    data.setUrls([QtCore.QUrl.fromLocalFile(str(path))])
    drop = QtGui.QDropEvent(
        QtCore.QPointF(5, 5), QtCore.Qt.DropAction.CopyAction, data,
        QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    widget.dropEvent(drop)


def test_a_dropped_picture_restores_its_settings(contents: Contents, tmp_path: Path) -> None:
    _drop(contents.panel, _picture(tmp_path / "plain.png"))
    assert "carries no settings" in contents.live_state.problem
    _drop(contents.panel, _picture(tmp_path / "boat.png", TEXT))
    assert contents.live_state.problem == ""
    assert contents.settings.get("seed") == 123
    assert contents.settings.get("model") == "seaside"
    field = contents.panel.findChild(QtWidgets.QPlainTextEdit, "nijimi_prompt")
    assert field.toPlainText() == "a boat (red:1.2)"
