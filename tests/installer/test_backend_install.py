"""A backend in a folder of its own, from an archive or a checkout: whole or not at all."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from nijimi_backend.cli import main as nijimi
from nijimi_backend.plugin_archive import BACKEND_PARTS
from nijimi_installer import backend_install, environment
from nijimi_installer.backend_install import SOURCE_PARTS, copy_source, install_backend
from nijimi_installer.commands import main
from nijimi_installer.errors import CommandFailed
from nijimi_installer.paths import repository_root

CAME = "nijimi/backend_source"


class _Room(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "came"
    folder.mkdir()
    for part in SOURCE_PARTS:
        if (repository_root() / part).is_dir():
            (folder / part / "__pycache__").mkdir(parents=True)
            (folder / part / "code.py").write_text(part)
            (folder / part / "__pycache__" / "code.pyc").write_text("x")
        else:
            (folder / part).write_text(part)
    return folder


def test_the_archive_carries_what_the_installer_installs(tmp_path: Path) -> None:
    assert BACKEND_PARTS == SOURCE_PARTS
    archive = tmp_path / "nijimi.zip"
    assert nijimi(["plugin", "build", "--with-backend", "-o", str(archive)]) == 0
    with zipfile.ZipFile(archive) as files:
        names = set(files.namelist())
        files.extractall(tmp_path / "out")
    assert f"{CAME}/installer/__main__.py" in names
    assert f"{CAME}/backend/nijimi_backend/models/downloads.json" in names
    assert not [name for name in names if "__pycache__" in name or ".egg-info" in name]
    copied = copy_source(tmp_path / "out" / CAME, tmp_path / "home" / "source")
    model = "backend/nijimi_backend/embedded/nijimi-mini/unet/diffusion_pytorch_model.safetensors"
    assert (copied / model).read_bytes() == (repository_root() / model).read_bytes()
    plain = tmp_path / "plain.zip"
    assert nijimi(["plugin", "build", "-o", str(plain)]) == 0
    with zipfile.ZipFile(plain) as files:
        assert not [name for name in files.namelist() if name.startswith(CAME)]


def test_a_newer_source_replaces_the_older_one_whole(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "home" / "source"
    copy_source(source, target)
    assert (target / "backend" / "code.py").read_text() == "backend"
    assert not (target / "backend" / "__pycache__").exists()
    (target / "backend" / "gone.py").write_text("of an older version")
    (source / "backend" / "code.py").write_text("newer")
    copy_source(source, target)
    assert (target / "backend" / "code.py").read_text() == "newer"
    assert not (target / "backend" / "gone.py").exists()
    assert [path.name for path in target.parent.iterdir()] == ["source"]


def test_a_source_that_is_not_whole_leaves_the_older_one(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "home" / "source"
    copy_source(source, target)
    shutil.rmtree(source / "shared_protocol")
    with pytest.raises(CommandFailed, match="shared_protocol is missing"):
        copy_source(source, target)
    assert (target / "shared_protocol" / "code.py").exists()


def test_a_disk_without_room_is_told_before_anything_is_begun(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    home = tmp_path / "home"
    monkeypatch.setattr(backend_install.shutil, "disk_usage", lambda _: _Room(10**12, 0, 10**9))
    monkeypatch.setattr(backend_install, "has_nvidia_gpu", lambda: False)
    assert main(["backend", "--into", str(home)]) == 1
    told = capsys.readouterr().out
    assert "0.9 GiB free; the backend needs 4" in told
    assert "Make room" in told
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("device", "has_gpu", "for_gpu"),
    [("auto", True, True), ("auto", False, False), ("cpu", True, False), ("cuda", True, True)],
)
def test_the_device_decides_which_torch_is_asked_for(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], device: str, has_gpu: bool, for_gpu: bool,
) -> None:  # fmt: skip
    asked: list[Any] = []

    def ensure(root: Path, **words: Any) -> Path:
        asked.append((root, words))
        return Path("/there/python")

    monkeypatch.setattr(backend_install, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setattr(backend_install, "ensure_environment", ensure)
    home = tmp_path / "home"
    assert install_backend(source, home, device=device) == Path("/there/python")
    ((root, words),) = asked
    assert root == home / "source"
    assert words["venv"] == home / ".venv"
    assert words["with_gpu"] is for_gpu
    assert capsys.readouterr().out.splitlines()[-1] == "==> Backend: /there/python"


def test_pip_is_made_to_tell_bytes_where_it_can(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    can_update = True

    def pip(_python: Path, _root: Path, *words: str, quiet: bool) -> bool:
        calls.append(words)
        return can_update or "--upgrade" not in words

    monkeypatch.setattr(environment, "_pip_install", pip)
    monkeypatch.setattr(environment, "_make_venv", lambda venv: venv.mkdir())
    monkeypatch.setattr(environment, "is_built_for_cuda", lambda _: False)
    monkeypatch.setattr(environment, "_find_people", lambda _python, _pip: None)
    for can_update in (True, False):
        calls.clear()
        environment.ensure_environment(
            source, venv=tmp_path / f"v{can_update}", with_gpu=False, tells_bytes=True
        )
        bars = [words[:2] == ("--progress-bar", "raw") for words in calls[1:]]
        assert bars == [can_update] * 4


@pytest.mark.parametrize("with_gpu", [False, True])
def test_what_makes_a_cpu_quicker_comes_where_there_is_no_gpu(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_gpu: bool
) -> None:
    """And without the package beside it that tells others of its use."""
    calls: list[tuple[str, ...]] = []

    def pip(_python: Path, _root: Path, *words: str, quiet: bool) -> bool:
        calls.append(words)
        return "openvino" not in words

    monkeypatch.setattr(environment, "_pip_install", pip)
    monkeypatch.setattr(environment, "_make_venv", lambda venv: venv.mkdir())
    monkeypatch.setattr(environment, "is_built_for_cuda", lambda _: with_gpu)
    monkeypatch.setattr(environment, "_find_people", lambda _python, _pip: None)
    environment.ensure_environment(source, venv=tmp_path / "venv", with_gpu=with_gpu)
    assert (("--no-deps", "openvino") in calls) is not with_gpu


def test_what_finds_people_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not published for every system; nothing else depends on it."""
    python = Path(sys.executable)
    environment._find_people(python, lambda *_words, **_: False)
    assert "all else works" in capsys.readouterr().out
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(environment.subprocess, "run", run)
    environment._find_people(python, lambda *_words, **_: True)
    assert ran[0][-3:] == ["models", "fetch", "blazepose"]
    assert "all else works" not in capsys.readouterr().out
