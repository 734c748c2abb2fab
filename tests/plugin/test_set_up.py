"""The guide: from no backend to a first picture, with programs that stand in for installer and
backend and speak as the real ones do."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nijimi import set_up as set_up_module
from nijimi.link.backend_setup import BackendSetup
from nijimi.link.program import NOT_STARTED, Program, part_of
from nijimi.link.pythons import PythonSearch, python_commands
from nijimi.model.config import change_config, config_path, read_config
from nijimi.model.set_up_choice import fetchables
from nijimi.qt import QtWidgets
from nijimi.set_up import SetUp
from PIL import Image

Wait = Callable[..., None]

INSTALLER = """
import os, sys, time
from pathlib import Path
here = Path(__file__).parent
mode = (here / "mode").read_text()
print("==> Copying Nijimi", flush=True)
print("==> Installing torch (the CPU build: no NVIDIA GPU found)")
print("Progress 95000000 of 190000000", flush=True)
if mode == "fails":
    print("Nijimi: pip could not install the packages.")
    print("Check the network.")
    sys.exit(1)
if mode == "hangs":
    (here / "pid").write_text(str(os.getpid()))
    time.sleep(60)
print("==> Installing the other packages")
print(f"==> Backend: {here / 'python'}")
"""

BACKEND = f"""#!{sys.executable}
import json, shutil, sys
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[3:]
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[:2] == ["models", "fetch"] and "--json" in words:
    print((here / "list.json").read_text())
elif words[:2] == ["models", "fetch"]:
    print("Progress 10 of 20", file=sys.stderr)
elif words[0] == "render":
    if (here / "broken").exists():
        print("a log line", file=sys.stderr)
        print("nijimi: The model is broken. Reinstall it.", file=sys.stderr)
        sys.exit(2)
    shutil.copy(here / "picture.png", words[words.index("-o") + 1])
"""

LIST = [
    {"name": "big", "title": "Big", "kind": "checkpoint", "family": "sd1", "licence": "free",
     "page": "https://example.org/big", "bytes": 4_000_000_000},
    {"name": "lcm-lora-small", "title": "L", "kind": "lora", "family": "sd1", "licence": "free",
     "page": "", "bytes": 100_000_000},
    {"name": "pose", "title": "P", "kind": "controlnet", "family": "sd1", "licence": "free",
     "page": "", "bytes": 1},
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source whose installer says what the real one says; its backend lies beside it."""
    folder = tmp_path / "source" / "installer"
    folder.mkdir(parents=True)
    (folder / "__main__.py").write_text(INSTALLER)
    (folder / "mode").write_text("works")
    (folder / "list.json").write_text(json.dumps(LIST))
    python = folder / "python"
    python.write_text(BACKEND)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    Image.new("RGB", (256, 256), (200, 80, 40)).save(folder / "picture.png")
    return tmp_path / "source"


@pytest.fixture
def set_up(
    application: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SetUp]:
    monkeypatch.setenv("NIJIMI_CONFIG", str(tmp_path / "config" / "config.json"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(set_up_module, "backend_source", lambda: source)
    monkeypatch.setattr(set_up_module, "python_commands", lambda *_: ((sys.executable,),))
    made = SetUp(lambda: None)
    yield made
    made.end()


def _calls(source: Path) -> list[list[str]]:
    text = (source / "installer" / "calls").read_text()
    return [json.loads(line) for line in text.splitlines()]


def _child(guide: Any, name: str) -> Any:
    child = guide.findChild(QtWidgets.QWidget, f"nijimi_{name}")
    assert child is not None, name
    return child


def _open(set_up: SetUp, wait: Wait) -> Any:
    set_up.open()
    guide = set_up.guide
    wait(lambda: guide.where.isComplete())
    return guide


def test_from_nothing_to_a_first_picture(set_up: SetUp, source: Path, wait: Wait) -> None:
    changes: list[bool] = []
    ready: list[tuple[bool, str]] = []
    set_up.changed.connect(lambda: changes.append(True))
    set_up.ready.connect(lambda *what: ready.append(what))
    guide = _open(set_up, wait)
    assert guide.where.choice == "here"
    assert "is there" in _child(guide, "set_up_version").text()
    assert "GiB are free" in _child(guide, "set_up_room").text()
    guide.next()
    wait(lambda: guide.work.isComplete())
    python = str(source / "installer" / "python")
    assert read_config().backend_command[0] == python
    assert changes
    guide.next()
    wait(lambda: _child(guide, "set_up_list").count() == 1)
    _child(guide, "set_up_fetch").setChecked(True)
    assert "4.1 GB" in _child(guide, "set_up_list").currentText()
    assert "free" in _child(guide, "set_up_about").text()
    guide.next()
    wait(lambda: guide.picture.isComplete())
    assert not _child(guide, "first_picture").pixmap().isNull()
    fetched = [call[2] for call in _calls(source) if call[:2] == ["models", "fetch"]]
    assert fetched == ["--json", "lcm-lora-small", "big"]
    render = _calls(source)[-1]
    assert render[render.index("--model") + 1] == "big"
    guide.accept()
    assert ready == [(True, "big")]
    assert set_up.guide is None


def test_what_went_wrong_is_told_and_can_be_tried_again(
    set_up: SetUp, source: Path, wait: Wait
) -> None:
    (source / "installer" / "mode").write_text("fails")
    guide = _open(set_up, wait)
    guide.next()
    title, again = _child(guide, "set_up_work_title"), _child(guide, "set_up_work_again")
    wait(lambda: title.text() == "pip could not install the packages.")
    assert _child(guide, "set_up_work_detail").text() == "Check the network."
    assert not guide.work.isComplete()
    assert not config_path().exists()
    (source / "installer" / "mode").write_text("works")
    again.click()
    wait(lambda: guide.work.isComplete())
    (source / "installer" / "broken").write_text("")
    guide.next()
    guide.next()
    detail = _child(guide, "first_picture_detail")
    wait(lambda: detail.text() == "The model is broken. Reinstall it.")
    (source / "installer" / "broken").unlink()
    _child(guide, "first_picture_again").click()
    wait(lambda: guide.picture.isComplete())


def test_going_back_ends_the_installer(set_up: SetUp, source: Path, wait: Wait) -> None:
    (source / "installer" / "mode").write_text("hangs")
    guide = _open(set_up, wait)
    guide.next()
    note = source / "installer" / "pid"
    wait(lambda: note.exists() and note.read_text() != "")
    bar = _child(guide, "set_up_work_bar")
    wait(lambda: bar.value() > 80)
    guide.back()
    wait(lambda: not Path(f"/proc/{note.read_text()}").exists())
    guide.reject()
    assert not config_path().exists()


def test_folders_that_are_there_are_named_and_only_read(
    set_up: SetUp, source: Path, tmp_path: Path, wait: Wait
) -> None:
    change_config(backend_command=[str(source / "installer" / "python"), "-m", "x", "serve"])
    guide = _open(set_up, wait)
    assert guide.where.choice == "as_is"
    guide.next()
    wait(lambda: _child(guide, "set_up_fetch").isEnabled())
    _child(guide, "set_up_mine").setChecked(True)
    assert not guide.models.isComplete()
    _child(guide, "set_up_folder").setText(str(tmp_path))
    assert _child(guide, "set_up_memory").text() == "All there is"
    _child(guide, "set_up_memory").setValue(6)
    assert not _child(guide, "set_up_eight_bit").isChecked()
    _child(guide, "set_up_eight_bit").setChecked(True)
    guide.next()
    wait(lambda: guide.picture.isComplete())
    assert read_config().models_from == (str(tmp_path),)
    assert read_config().backend_options[-3:] == ["--model-memory-gib", "6.0", "--eight-bit"]
    render = _calls(source)[-1]
    assert render[render.index("--models-from") + 1] == str(tmp_path)
    _child(guide, "set_up_live").setChecked(False)
    ready: list[tuple[bool, str]] = []
    set_up.ready.connect(lambda *what: ready.append(what))
    guide.accept()
    assert ready == [(False, "")]


def test_a_backend_elsewhere_needs_an_address_and_a_token(
    set_up: SetUp, tmp_path: Path, wait: Wait
) -> None:
    guide = _open(set_up, wait)
    _child(guide, "set_up_there").setChecked(True)
    assert not guide.where.isComplete()
    _child(guide, "set_up_url").setText("wss://studio.example:7865/nijimi")
    _child(guide, "set_up_token").setText(str(tmp_path / "token"))
    assert guide.where.isComplete()
    assert guide.nextId() == -1
    guide.accept()
    remote = read_config().remote
    assert remote is not None
    assert (remote.host, remote.port) == ("studio.example", 7865)


def test_no_python_and_no_source_are_told(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, wait: Wait
) -> None:
    monkeypatch.setattr(set_up_module, "python_commands", lambda *_: (("/nowhere/python",),))
    set_up.open()
    version = _child(set_up.guide, "set_up_version")
    wait(lambda: "3.11 to 3.14 is needed" in version.text())
    assert not set_up.guide.where.isComplete()
    _child(set_up.guide, "set_up_python").setText(sys.executable)
    wait(lambda: set_up.guide.where.isComplete())
    set_up.guide.reject()
    monkeypatch.setattr(set_up_module, "backend_source", lambda: None)
    set_up.open()
    _child(set_up.guide, "set_up_here").setChecked(True)
    wait(lambda: "python3 installer run" in _child(set_up.guide, "set_up_version").text())
    assert not set_up.guide.where.isComplete()


def test_too_little_room_is_told_before_anything_is_begun(set_up: SetUp, wait: Wait) -> None:
    guide = _open(set_up, wait)
    guide.where.show_room(10**9, 4 * 2**30)
    assert "1 GiB are free; it takes about 4" in _child(guide, "set_up_room").text()
    assert not guide.where.isComplete()


def test_a_configuration_that_cannot_be_written_is_told(
    set_up: SetUp, tmp_path: Path, wait: Wait
) -> None:
    (tmp_path / "config").write_text("a file where a folder must be")
    told: list[str] = []
    set_up.troubled.connect(lambda what, _do: told.append(what))
    guide = _open(set_up, wait)
    guide.next()
    title = _child(guide, "set_up_work_title")
    wait(lambda: "could not be written" in title.text())
    assert told == [title.text()]


def test_a_guide_that_is_open_is_not_opened_twice(set_up: SetUp, wait: Wait) -> None:
    guide = _open(set_up, wait)
    set_up.open()
    assert set_up.guide is guide


# The parts -------------------------------------------------------------------------------------


def test_changing_the_configuration_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    monkeypatch.setenv("NIJIMI_CONFIG", str(path))
    path.write_text(json.dumps({"format": 1, "models_dir": "/m", "later": 3}))
    change_config(models_from=["/c"])
    assert json.loads(path.read_text()) == {
        "format": 1, "models_dir": "/m", "later": 3, "models_from": ["/c"],
    }  # fmt: skip
    assert read_config().backend_options == ["--models-dir", "/m", "--models-from", "/c"]
    path.write_text(json.dumps({"format": 99, "secret": 1}))
    change_config(models_dir="/n")
    assert json.loads(path.read_text()) == {"format": 1, "models_dir": "/n"}
    assert json.loads((tmp_path / "config.json.before").read_text())["secret"] == 1


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("Progress 12 of 80", (12, 80)),
        ("Progress 12 of 0", None),
        ("Progress twelve of 80", None),
        ("  Progress 1 of 2", None),
    ],
)
def test_lines_of_progress_are_read(line: str, part: tuple[int, int] | None) -> None:
    assert part_of(line) == part


def test_a_program_is_heard_line_by_line(application: Any, wait: Wait) -> None:
    said: list[str] = []
    complained: list[str] = []
    ended: list[int] = []
    code = "import sys; print('one'); print('twö'); sys.stderr.write('a\\rb\\nlast'); sys.exit(3)"
    program = Program([sys.executable, "-X", "utf8", "-c", code])
    program.said.connect(said.append)
    program.complained.connect(complained.append)
    program.ended.connect(ended.append)
    program.start()
    wait(lambda: bool(ended))
    assert (said, complained, ended) == (["one", "twö"], ["b", "last"], [3])


@pytest.mark.parametrize("command", [[], ["/nowhere/program"]])
def test_a_program_that_is_not_there_is_told(
    application: Any, command: list[str], wait: Wait
) -> None:
    ended: list[int] = []
    program = Program(command)
    program.ended.connect(ended.append)
    program.start()
    wait(lambda: ended == [NOT_STARTED])


@pytest.mark.parametrize(
    ("system", "first", "has"),
    [
        ("linux", ("python3.12",), ("python3",)),
        ("darwin", ("/opt/homebrew/bin/python3.12",), ("python3.11",)),
        ("win32", ("py", "-3.12"), ("python",)),
    ],
)
def test_every_system_has_places_for_python(
    system: str, first: tuple[str, ...], has: tuple[str, ...]
) -> None:
    commands = python_commands(system, "home")
    assert commands[0] == first
    assert has in commands


def test_a_python_that_is_too_old_is_passed_over(
    application: Any, tmp_path: Path, wait: Wait
) -> None:
    old = tmp_path / "old"
    old.write_text(f'#!{sys.executable}\nprint(\'["/old", [3, 9], "3.9.2", true]\')\n')
    old.chmod(0o755)
    found: list[str] = []
    search = PythonSearch([[str(old)], ["/nowhere"], [sys.executable]])
    search.found.connect(lambda path, _version: found.append(path))
    search.start()
    wait(lambda: bool(found))
    assert Path(found[0]).samefile(sys.executable)
    missing: list[bool] = []
    alone = PythonSearch([[str(old)]])
    alone.missing.connect(lambda: missing.append(True))
    alone.start()
    wait(lambda: missing == [True])


def test_progress_grows_over_the_stages(application: Any, source: Path, wait: Wait) -> None:
    parts: list[float] = []
    titles: list[str] = []
    made: list[str] = []
    setup = BackendSetup(sys.executable, source, "home")
    setup.progressed.connect(lambda title, part, _: (titles.append(title), parts.append(part)))
    setup.installed.connect(made.append)
    setup.start()
    wait(lambda: bool(made))
    assert parts == sorted(parts)
    assert titles[0] == "Copying Nijimi"
    assert titles[-1] == "Installing the other packages"


def test_an_installer_that_says_nothing_is_told(application: Any, source: Path, wait: Wait) -> None:
    (source / "installer" / "__main__.py").write_text("raise SystemExit('what?')")
    failures: list[tuple[str, str]] = []
    for n, python in enumerate((sys.executable, "/nowhere/python"), 1):
        setup = BackendSetup(python, source, "home")
        setup.failed.connect(lambda *told: failures.append(told))
        setup.start()
        wait(lambda n=n: len(failures) == n)
    assert failures[0] == ("The installation ended without a result.", "what?")
    assert failures[1] == ("/nowhere/python cannot be started.", "Choose another Python.")


def test_a_list_of_another_form_offers_nothing() -> None:
    assert fetchables({"models": 3}) == ()
    assert fetchables([1, {"kind": "lora"}]) == ()
    (only,) = fetchables(LIST)
    assert (only.name, only.wants, only.size_bytes) == ("big", ("lcm-lora-small",), 4_100_000_000)
