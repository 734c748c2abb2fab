"""Installer: paths of three systems, settings touched in one line, packages, plugin, sketch."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import json
import platform
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_installer import commands, system_packages
from nijimi_installer.commands import main
from nijimi_installer.environment import _is_usable, stamp_of
from nijimi_installer.errors import CommandFailed, MissingProgram
from nijimi_installer.paths import krita_paths, venv_python
from nijimi_installer.plugin_install import enable_plugin, unpack_plugin, write_config
from nijimi_installer.processes import is_running
from nijimi_installer.settings_file import set_key
from nijimi_installer.sketch import sketch_strokes
from nijimi_installer.system_packages import (
    DEBIAN_PACKAGES,
    install_command,
    missing_packages,
    progress_of,
)
from nijimi_installer.torch_build import advice, install_torch


def test_linux_paths_follow_the_xdg_folders() -> None:
    paths = krita_paths("Linux", {"XDG_CONFIG_HOME": "/c"}, "/home/a")
    assert str(paths.pykrita) == "/home/a/.local/share/krita/pykrita"
    assert str(paths.kritarc) == "/c/kritarc"
    assert str(paths.nijimi_config) == "/c/nijimi/config.json"
    assert str(venv_python(Path("/r/.venv"), "Linux")) == "/r/.venv/bin/python"


def test_windows_paths_lie_in_appdata() -> None:
    environment = {"APPDATA": r"C:\U\a\Roaming", "LOCALAPPDATA": r"C:\U\a\Local"}
    paths = krita_paths("Windows", environment, r"C:\U\a")
    assert str(paths.pykrita) == r"C:\U\a\Roaming\krita\pykrita"
    assert str(paths.kritarc) == r"C:\U\a\Local\kritarc"
    assert str(paths.nijimi_config) == r"C:\U\a\Roaming\nijimi\config.json"
    assert str(paths.executables[0]).endswith(r"Krita (x64)\bin\krita.exe")
    bare = krita_paths("Windows", {}, r"C:\Users\a")
    assert str(bare.pykrita) == r"C:\Users\a\AppData\Roaming\krita\pykrita"


def test_macos_paths_lie_in_the_library() -> None:
    paths = krita_paths("Darwin", {}, "/Users/a")
    assert str(paths.pykrita) == "/Users/a/Library/Application Support/krita/pykrita"
    assert str(paths.kritarc) == "/Users/a/Library/Preferences/kritarc"
    assert str(paths.executables[0]) == "/Applications/krita.app/Contents/MacOS/krita"


lines = st.lists(
    st.sampled_from(["a=1", "[python]", "[theme]", "", "enable_other=true", "enable_nijimi=false"]),
    max_size=9,
)


@given(lines)
def test_setting_a_key_touches_one_line_only(before: list[str]) -> None:
    text = "\n".join(before)
    after = set_key(text, "python", "enable_nijimi", "true")
    assert set_key(after, "python", "enable_nijimi", "true") == after
    section, ours = "", []
    for line in after.splitlines():
        section = line if line.startswith("[") else section
        if section == "[python]" and line.startswith("enable_nijimi"):
            ours.append(line)
    assert ours
    assert set(ours) == {"enable_nijimi=true"}
    kept = [line for line in before if line.strip() and not line.startswith("enable_nijimi")]
    remaining = after.splitlines()
    for line in kept:
        assert line in remaining
        remaining.remove(line)


def test_line_ends_and_odd_bytes_stay_as_they_are(tmp_path: Path) -> None:
    kritarc = tmp_path / "kritarc"
    before = b"x=a\xe2\x80\xa8b\x0cc\xff\r\n[python]\r\na=1\r\n"
    kritarc.write_bytes(before)
    enable_plugin(kritarc)
    expected = before.replace(b"[python]\r\n", b"[python]\r\nenable_nijimi=true\r\n")
    assert kritarc.read_bytes() == expected


def test_a_link_to_a_checkout_is_replaced_and_the_checkout_left_alone(tmp_path: Path) -> None:
    checkout, pykrita = tmp_path / "checkout", tmp_path / "pykrita"
    checkout.mkdir()
    pykrita.mkdir()
    (checkout / "new.py").write_text("precious")
    (pykrita / "nijimi").symlink_to(checkout)
    unpack_plugin(_archive(tmp_path / "a.zip", "nijimi.desktop", "nijimi/new.py"), pykrita)
    assert (checkout / "new.py").read_text() == "precious"
    assert (pykrita / "nijimi" / "new.py").read_text() == "x"


def test_enabling_keeps_the_users_settings_and_a_copy(tmp_path: Path) -> None:
    kritarc = tmp_path / "kritarc"
    kritarc.write_text("Odd=\\x41,key\n[python]\nenable_ten_brushes=true\n[theme]\nTheme=x\n")
    enable_plugin(kritarc)
    text = kritarc.read_text()
    assert "Odd=\\x41,key" in text
    assert "[python]\nenable_nijimi=true\nenable_ten_brushes=true" in text
    assert "enable_nijimi" not in (tmp_path / "kritarc.before-nijimi").read_text()
    enable_plugin(tmp_path / "new" / "kritarc")
    assert (tmp_path / "new" / "kritarc").read_text() == "[python]\nenable_nijimi=true\n"


def _archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path


def test_palettes_come_where_krita_looks_for_them_beside_the_painters_own(tmp_path: Path) -> None:
    own = tmp_path / "palettes" / "mine.gpl"
    own.parent.mkdir()
    own.write_text("mine")
    names = ("nijimi.desktop", "nijimi/new.py", "nijimi/palettes/kinds.gpl")
    for _ in range(2):
        unpack_plugin(_archive(tmp_path / "a.zip", *names), tmp_path / "pykrita")
    assert sorted(path.name for path in own.parent.iterdir()) == ["kinds.gpl", "mine.gpl"]
    assert own.read_text() == "mine"


def test_a_plugin_replaces_the_older_one_and_nothing_else(tmp_path: Path) -> None:
    pykrita = tmp_path / "pykrita"
    (pykrita / "nijimi").mkdir(parents=True)
    (pykrita / "nijimi" / "old.py").write_text("old")
    (pykrita / "other.desktop").write_text("other")
    unpack_plugin(_archive(tmp_path / "a.zip", "nijimi.desktop", "nijimi/new.py"), pykrita)
    assert sorted(p.name for p in pykrita.iterdir()) == [
        "nijimi",
        "nijimi.desktop",
        "other.desktop",
    ]
    assert [p.name for p in (pykrita / "nijimi").iterdir()] == ["new.py"]


@pytest.mark.parametrize("name", ["evil.py", "nijimi/../../evil.py", "/etc/evil"])
def test_an_archive_with_foreign_files_is_refused(tmp_path: Path, name: str) -> None:
    archive = _archive(tmp_path / "a.zip", "nijimi.desktop", name)
    with pytest.raises(CommandFailed):
        unpack_plugin(archive, tmp_path / "pykrita")
    assert not (tmp_path / "evil.py").exists()


def test_the_configuration_tells_how_to_start_the_backend(tmp_path: Path) -> None:
    path = tmp_path / "nijimi" / "config.json"
    write_config(path, Path("/v/python"), live=True, model="m", device="cpu")
    config = json.loads(path.read_text())
    expected = ["/v/python", "-m", "nijimi_backend", "serve", "--device", "cpu", "--model", "m"]
    assert config["backend_command"] == expected
    assert config["live_on_start"] is True


def test_the_stamp_changes_with_whatever_decides_the_packages(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("a")
    first = stamp_of(tmp_path, ())
    assert stamp_of(tmp_path, ()) == first
    assert stamp_of(tmp_path, ("dev",)) != first
    (tmp_path / "constraints.txt").write_text("b")
    assert stamp_of(tmp_path, ()) != first


def test_missing_packages_are_found_by_their_files() -> None:
    assert missing_packages(lambda _: True) == []
    assert missing_packages(lambda path: "Xvfb" not in path) == ["xvfb"]
    assert "python3-pyqt5" in missing_packages(lambda path: "PyQt5" not in path)


@pytest.mark.parametrize(
    ("manager", "words"),
    [("dnf", "sudo dnf install"), ("pacman", "pacman -S"), ("brew", "--cask"), ("", "apt-get")],
)
def test_elsewhere_the_exact_command_is_told(manager: str, words: str) -> None:
    command = install_command(lambda name: "/x" if name == manager else None)
    assert words in command
    assert "krita" in command


def test_the_sketch_lies_on_the_canvas_and_every_stroke_moves_enough() -> None:
    strokes = sketch_strokes()
    assert {"sky", "sun", "hill", "house", "tree"} <= {stroke.what for stroke in strokes}
    for stroke in strokes:
        assert len(stroke.points) >= 10
        assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in stroke.points)


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--nonsense"])
    assert caught.value.code == 2


class Pip:
    """Says yes to every word but those of ``refused``; remembers what it was asked."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, *words: str, quiet: bool = False) -> bool:
        self.asked.append(words)
        return words[-1] != self.refused


def test_a_machine_without_a_gpu_asks_for_the_cpu_build_first() -> None:
    pip = Pip()
    assert install_torch(pip, lambda: False, has_gpu=False, index="")
    assert pip.asked == [("torch==2.13.0+cpu",)]


def test_where_there_is_no_cpu_build_the_default_comes_and_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pip = Pip(refused="torch==2.13.0+cpu")
    assert install_torch(pip, lambda: True, has_gpu=False, index="")
    assert pip.asked[-1] == ("torch==2.13.0",)
    assert "--torch-index" in capsys.readouterr().out


def test_a_machine_with_a_gpu_takes_no_cpu_build_in_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pip = Pip()
    assert install_torch(pip, lambda: False, has_gpu=True, index="")
    assert pip.asked == [("torch==2.13.0",)]
    assert "NVIDIA GPU" in capsys.readouterr().out
    assert advice(has_gpu=True, for_cuda=True) == ""
    assert advice(has_gpu=False, for_cuda=False) == ""


def test_a_named_index_replaces_the_build_that_is_there() -> None:
    pip = Pip()
    assert install_torch(pip, lambda: True, has_gpu=True, index="file:///wheels")
    assert "--force-reinstall" in pip.asked[0]
    assert "file:///wheels" in pip.asked[0]


def test_a_failed_install_of_torch_is_told() -> None:
    assert not install_torch(Pip("torch==2.13.0"), lambda: False, has_gpu=True, index="")


def test_an_environment_made_with_another_index_is_made_again(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("a")
    assert stamp_of(tmp_path, (), "file:///a") != stamp_of(tmp_path, ())
    assert stamp_of(tmp_path, (), "file:///a") != stamp_of(tmp_path, (), "file:///b")


def test_an_environment_of_another_python_is_not_usable(tmp_path: Path) -> None:
    assert _is_usable(Path(sys.executable))
    assert not _is_usable(tmp_path / "python")
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 3 9\n")
    other.chmod(0o755)
    assert not _is_usable(other)


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("pmstatus:krita:40.5:Unpacking krita (amd64)\n", (40, "Unpacking krita (amd64)")),
        ("dlstatus:3:9.99:Retrieving file 3 of 9: 2 min\n", (9, "Retrieving file 3 of 9: 2 min")),
        ("Reading package lists...\n", None),
        ("pmstatus:krita:much:Unpacking\n", None),
        ("E: Unable: to: locate\n", None),
    ],
)
def test_the_progress_of_apt_is_read(line: str, progress: tuple[int, str] | None) -> None:
    assert progress_of(line) == progress


def test_without_apt_every_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        system_packages.shutil,
        "which",
        lambda name: f"/usr/bin/{name}" if name in ("krita", "dnf") else None,
    )
    with pytest.raises(MissingProgram) as caught:
        system_packages._check_programs(DEBIAN_PACKAGES)
    assert caught.value.sentence == "xvfb and openbox and xdotool are not installed."
    assert "dnf install" in caught.value.action
    system_packages._check_programs(("krita",))


def test_a_running_krita_is_noticed(tmp_path: Path) -> None:
    for number, name, state in ((1, "bash", "S"), (22, "krita", "Z")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
        (tmp_path / str(number) / "stat").write_text(f"{number} ({name}) {state} 1")
    if platform.system() != "Linux":
        pytest.skip("only Linux has /proc")
    assert not is_running("krita", tmp_path)
    (tmp_path / "22" / "stat").write_text("22 (krita) S 1")
    assert is_running("krita", tmp_path)


def test_nothing_is_changed_while_krita_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "is_running", lambda name: name == "krita")
    monkeypatch.setattr(commands, "ensure_environment", lambda *_, **__: Path(sys.executable))
    monkeypatch.setattr(commands, "ensure_system_packages", lambda _needed: None)
    monkeypatch.setattr(commands, "build_archive", lambda *_: None)
    monkeypatch.setattr(commands, "_has_no_display", lambda: False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert main(["run"]) == 1
    assert "close Krita" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr(commands, "ensure_environment", fail)
    assert main(["run"]) == 1
    told = capsys.readouterr().out
    assert "No space left on device: /somewhere" in told
    assert "disk has room" in told


def test_a_plugin_that_cannot_be_unpacked_leaves_the_older_one(tmp_path: Path) -> None:
    old = tmp_path / "pykrita" / "nijimi"
    old.mkdir(parents=True)
    (old / "here.py").write_text("old")
    archive = tmp_path / "broken.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("nijimi/x.py", "new " * 200)
        files.writestr("nijimi.desktop", "d")
    data = bytearray(archive.read_bytes())
    data[60:80] = bytes(20)
    archive.write_bytes(bytes(data))
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        unpack_plugin(archive, old.parent)
    assert (old / "here.py").read_text() == "old"
