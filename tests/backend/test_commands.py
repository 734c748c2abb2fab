"""Commands: good words make files, bad ones a sentence and exit status 2."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from nijimi_backend.cli import main
from PIL import Image


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.new("RGBA", (120, 80), (200, 60, 40, 255)).save(path)
    return path


def test_render_writes_a_picture_of_the_canvas_size(
    models_dir: Path, tmp_path: Path, picture: Path
) -> None:
    output = tmp_path / "out.png"
    words = ["render", "--model", "tiny", "--models-dir", str(models_dir), "--prompt", "a boat"]
    assert main([*words, "--image", str(picture), "-o", str(output)]) == 0
    with Image.open(output) as image:
        assert image.size == (120, 80)
    assert main([*words, "--size", "200x96", "--seed", "3", "-o", str(output)]) == 0
    with Image.open(output) as image:
        assert image.size == (200, 96)
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "nope"], "no model named 'nope'"),
        (["--prompt", "a" * 10_000], "10000 characters"),
        (["--strength", "nan"], "strength is nan"),
        (["--strength", "1.5"], "strength is 1.5"),
        (["--steps", "0"], "number of steps"),
        (["--seed", "-1"], "seed is -1"),
        (["--size", "0x0"], "0 x 0"),
        (["--size", "20000x20000"], "20000 x 20000"),
        (["--size", "big"], "no size"),
        (["--image", "missing.png"], "no file"),
        (["--image", __file__], "cannot be read as a picture"),
        (["-o", "."], "is a folder"),
    ],
)
def test_bad_words_give_a_sentence_and_status_two(
    words: list[str],
    sentence: str,
    models_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.png"
    good = ["render", "--prompt", "x", "--models-dir", str(models_dir), "-o", str(output)]
    assert main([*good, *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not output.exists()


def test_doctor_says_what_is_there_and_what_is_broken(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json", "--models-dir", str(models_dir)]) == 0
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["torch"]["ok"]
    assert "model nijimi-mini" in found
    assert "model tiny" in found
    broken = tmp_path / "bad"
    (broken / "unet").mkdir(parents=True)
    (broken / "model_index.json").write_text("{}")
    assert main(["doctor", "--models-dir", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "BAD  model bad" in text
    assert "->" in text


def test_the_plugin_archive_imports_without_any_installed_package(tmp_path: Path) -> None:
    archive = tmp_path / "nijimi.zip"
    assert main(["plugin", "build", "-o", str(archive)]) == 0
    first = archive.read_bytes()
    assert main(["plugin", "build", "-o", str(archive)]) == 0
    assert archive.read_bytes() == first
    with zipfile.ZipFile(archive) as files:
        assert "nijimi.desktop" in files.namelist()
        files.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, 'nijimi/vendor');"
        "import websockets.client, websockets.frames, websockets.uri, nijimi_protocol;"
        "assert 'vendor' in websockets.client.__file__, websockets.client.__file__;"
        "assert 'vendor' in nijimi_protocol.__file__; print('imported')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "imported", done.stderr
