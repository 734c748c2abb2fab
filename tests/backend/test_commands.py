"""Commands: good words make files, bad ones a sentence and exit status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from nijimi_backend.cli import main
from nijimi_backend.doctor import examine
from nijimi_backend.engine.native import build as build_module
from nijimi_backend.picture_files import PictureFile, read_info, read_picture, write_picture
from PIL import Image

from tests.support.tiny_control import write_controlnet
from tests.support.tiny_model import write_tiny_model
from tests.support.upscaler_files import write_esrgan


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
        (["--control", "pose"], "is no control"),
        (["--control", "pose=people.json"], "size of the picture"),
        (["--control", "pose=missing.json", "--size", "64x64"], "cannot be read"),
        (["--control", f"pose={__file__}", "--size", "64x64"], "no JSON"),
        (["--control", "scribble=missing.png:0.5"], "no file missing.png"),
        (["--control", "scribble=lines.png:7"], "scale is 7"),
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


def test_a_control_is_read_and_one_that_cannot_be_is_told(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    write_tiny_model(folder / "tiny", attention_first=True)
    write_controlnet(folder / "controlnet" / "openpose")
    people = tmp_path / "people.json"
    body = [value for n in range(18) for value in (10 + 5 * n, 20 + 2 * n, 1.0)]
    people.write_text(json.dumps({"people": [{"pose_keypoints_2d": body}]}))
    words = ["render", "--models-dir", str(folder), "--model", "tiny", "--prompt", "x"]
    words += ["--image", str(picture)]
    free, posed = tmp_path / "free.png", tmp_path / "posed.png"
    assert main([*words, "-o", str(free)]) == 0
    assert main([*words, "--control", f"pose={people}:0.9", "-o", str(posed)]) == 0
    assert "warning" not in capsys.readouterr().err
    assert free.read_bytes() != posed.read_bytes()
    assert main([*words, "--control-from", f"canny={picture}", "-o", str(posed)]) == 0
    assert "There is no canny control" in capsys.readouterr().err


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


@pytest.mark.parametrize("compiles", [True, False])
def test_doctor_says_whether_functions_for_amx_can_be_built(
    monkeypatch: pytest.MonkeyPatch, compiles: bool
) -> None:
    def building() -> None:
        if not compiles:
            raise RuntimeError("there is no C compiler, such as gcc\nand more")

    monkeypatch.setattr(build_module, "build", building)
    monkeypatch.setattr(build_module, "has_tiles", lambda: True)
    (found,) = [each for each in examine() if each.what == "functions for AMX"]
    # Without them everything works.
    assert found.ok
    assert ("no C compiler" in found.value) != compiles
    assert "and more" not in found.value
    monkeypatch.setattr(build_module, "has_tiles", lambda: False)
    assert all(each.what != "functions for AMX" for each in examine())


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_masked_render_keeps_every_value_beside_the_mask(
    models_dir: Path, tmp_path: Path, depth: type
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, np.iinfo(depth).max, (90, 130, 3), endpoint=True).astype(depth)
    write_picture(PictureFile(values=values), tmp_path / "in.png")
    mask = np.zeros((90, 130), np.uint8)
    mask[20:70, 30:90] = 255
    mask[20:70, 25:30] = 40
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["render", "--model", "tiny", "--models-dir", str(models_dir), "--prompt", "a boat"]
    files = ["--image", "in.png", "--mask", "mask.png", "-o", "out.png"]
    files = [str(tmp_path / word) if word.endswith("png") else word for word in files]
    assert main([*words, *files, "--steps", "1", "--inpaint", "fill"]) == 0
    result = read_picture(tmp_path / "out.png").values
    assert result.dtype == depth
    differs = (result != values).any(axis=2)
    assert not differs[mask == 0].any()
    assert differs[mask == 255].mean() > 0.9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mask", "small.png", "--image", "in.png"], "mask is 10 x 10"),
        (["--mask", "black.png", "--image", "in.png"], "Nothing is selected"),
        (["--mask", "black.png"], "needs a picture"),
        (["--mask", "black.png", "--image", "in.png", "--grow", "9000"], "grow"),
        (["--mask", "black.png", "--image", "in.png", "--size", "64x64"], "keeps its size"),
    ],
)
def test_a_mask_that_makes_no_sense_is_told(
    models_dir: Path,
    tmp_path: Path,
    picture: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    Image.new("L", (10, 10), 255).save(tmp_path / "small.png")
    Image.new("L", (120, 80)).save(tmp_path / "black.png")
    words = [str(tmp_path / word) if word.endswith("png") else word for word in words]
    model = ["--model", "tiny", "--models-dir", str(models_dir), "--prompt", "a boat"]
    assert main(["render", *model, *words, "-o", str(tmp_path / "out.png")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_picture_that_cannot_be_written_is_told(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    # A folder in the way of the file that is written first: true for root, too.
    (tmp_path / "out.png.part.png").mkdir()
    words = ["render", "--model", "tiny", "--models-dir", str(models_dir), "--prompt", "a boat"]
    assert main([*words, "--steps", "1", "-o", str(output)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not output.exists()


def _python(version: str) -> str:
    """An interpreter of that version, or a skip."""
    found = shutil.which(f"python{version}")
    if (
        found is None
        or subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode
    ):
        pytest.skip(f"Python {version} is not installed")
    return found


IMPORT_EVERY_MODULE = """
import importlib, pkgutil, sys, types
sys.path[:0] = ["nijimi/vendor", "."]
class Anything(types.ModuleType):
    def __getattr__(self, name):
        return type(name, (), {"__init__": lambda self, *_, **__: None})
for name in ("PyQt5", "PyQt5.QtCore", "PyQt5.QtGui", "PyQt5.QtNetwork", "PyQt5.QtWidgets"):
    sys.modules[name] = Anything(name)
sys.modules["PyQt5.sip"] = types.ModuleType("PyQt5.sip")
sys.modules["PyQt5.sip"].isdeleted = lambda thing: False
import nijimi, nijimi.link.websocket_core as core
names = [m.name for m in pkgutil.walk_packages(nijimi.__path__, "nijimi.")]
for name in names:
    if ".vendor" not in name and not name.startswith("nijimi.canvas."):
        importlib.import_module(name)
assert "third_party" in core.ClientProtocol.__module__, core.ClientProtocol
masking = sys.modules[core.Frame.__module__].apply_mask
assert masking(b"abcde", b"\\1\\2\\3\\4") == b"````d"
import nijimi_protocol
assert "vendor" in nijimi_protocol.__file__
try:
    import websockets
except ImportError:
    print("imported", {"nijimi.flow", "nijimi.ui.docker", "nijimi.live.sender"} <= set(names))
    print(masking.__module__.rpartition(".")[2])
"""


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_the_plugin_archive_imports_without_any_installed_package(
    version: str, tmp_path: Path
) -> None:
    """Krita 5.2 embeds Python 3.10; Qt is a stand-in here, real Krita has it."""
    python = _python(version)
    archive = tmp_path / "nijimi.zip"
    assert main(["plugin", "build", "-o", str(archive)]) == 0
    first = archive.read_bytes()
    assert main(["plugin", "build", "-o", str(archive)]) == 0
    assert archive.read_bytes() == first
    with zipfile.ZipFile(archive) as files:
        assert "nijimi.desktop" in files.namelist()
        files.extractall(tmp_path)
    done = subprocess.run(
        [python, "-I", "-S", "-c", IMPORT_EVERY_MODULE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    # What masks in C is of the Python that made the archive, and others do without.
    is_same = version == f"{sys.version_info.major}.{sys.version_info.minor}"
    masks = "speedups" if is_same and find_spec("websockets.speedups") else "utils"
    assert done.stdout.split() == ["imported", "True", masks], done.stderr


def test_krita_s_own_importer_takes_the_archive(tmp_path: Path) -> None:
    importer = Path("/usr/share/krita/pykrita/plugin_importer")
    if not importer.is_dir():
        pytest.skip("Krita's plugin importer is not installed")
    archive, resources = tmp_path / "nijimi.zip", tmp_path / "krita"
    assert main(["plugin", "build", "-o", str(archive)]) == 0
    (resources / "pykrita").mkdir(parents=True)
    code = (
        "import builtins, sys; builtins.i18n = lambda text: text;"
        f"sys.path.insert(0, {str(importer)!r});"
        "from plugin_importer import PluginImporter;"
        "print(PluginImporter(sys.argv[1], sys.argv[2], lambda plugin: True).import_all())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(archive), str(resources)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'name': 'nijimi'" in done.stdout
    assert (resources / "pykrita" / "nijimi.desktop").is_file()
    assert (resources / "pykrita" / "nijimi" / "flow.py").is_file()
    assert (resources / "pykrita" / "nijimi" / "third_party" / "websockets" / "client.py").is_file()


def test_a_pictures_settings_are_written_and_followed(models_dir: Path, tmp_path: Path) -> None:
    model = ["--model", "tiny", "--models-dir", str(models_dir)]
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    words = ["render", *model, "--prompt", "a boat", "--seed", "77", "--steps", "2"]
    assert main([*words, "--sampler", "euler", "--size", "64x64", "-o", str(first)]) == 0
    text = read_info(first)
    assert text.startswith("a boat\nSteps: 2, Sampler: Euler, CFG scale: 1, Seed: 77, Size: 64x64")
    like = ["render", "--models-dir", str(models_dir), "--like", str(first), "--size", "64x64"]
    assert main([*like, "-o", str(again)]) == 0
    assert np.array_equal(read_picture(first).values, read_picture(again).values)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [([], "There is no prompt"), (["--like", "PLAIN"], "carries no settings"),
     (["--like", "NONE"], "cannot be read")],
)  # fmt: skip
def test_a_picture_without_settings_is_told(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str],
    sentence: str,
) -> None:  # fmt: skip
    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(plain)
    names = {"PLAIN": str(plain), "NONE": str(tmp_path / "none.png")}
    words = [names.get(word, word) for word in words]
    output = tmp_path / "out.png"
    assert main(["render", "--models-dir", str(models_dir), *words, "-o", str(output)]) == 2
    assert sentence in capsys.readouterr().err
    assert not output.exists()


def test_a_picture_is_enlarged(models_dir: Path, tmp_path: Path, picture: Path) -> None:
    models = tmp_path / "models"
    write_tiny_model(models / "tiny")
    write_esrgan(models / "upscale_models" / "four.safetensors")
    output = tmp_path / "large.png"
    words = ["upscale", str(picture), "-o", str(output), "--models-dir", str(models),
             "--model", "tiny", "--prompt", "sea", "--steps", "2"]  # fmt: skip
    assert main([*words, "--factor", "1.5", "--upscaler", "four"]) == 0
    with Image.open(output) as image:
        assert image.size == (180, 120)
    assert "Prompt" not in read_info(output)
    assert read_info(output).startswith("sea")
    assert main([*words, "--strength", "0", "--factor", "2"]) == 0
    with Image.open(output) as image:
        assert image.size == (240, 160)
        assert image.getpixel((120, 80)) == (200, 60, 40)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--factor", "5"], "factor of the upscale is 5.0"),
        (["--strength", "2"], "strength of the upscale is 2.0"),
        (["--upscaler", "none"], "no upscaler named 'none'"),
        (["-o", "nowhere/out.png"], "cannot be written"),
    ],
)
def test_an_enlarging_that_cannot_be_is_told(
    words: list[str],
    sentence: str,
    models_dir: Path,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = ["upscale", str(picture), "-o", str(tmp_path / "out.png"), "--model", "tiny"]
    assert main([*before, "--models-dir", str(models_dir), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_words_are_completed_by_the_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert "upscale" in script
    assert "--strength" in script or "strength" in script


def test_what_the_exit_status_means_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for status in ("0", "1", "2", "3", "130"):
        assert f"\n  {status} " in told
