"""What older versions kept is read; what a newer one kept is said to be so, and left as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nijimi.model.config import read_config
from nijimi.model.controls import Controls
from nijimi.model.settings import DEFAULTS, Settings

from .flow_world import World, spin

KEPT = Path(__file__).with_name("kept_files")


def _settings(tmp_path: Path, name: str) -> tuple[Settings, Path]:
    path = tmp_path / "docker.json"
    shutil.copy(KEPT / name, path)
    return Settings(path), path


def test_the_first_version_s_values_are_read_and_the_rest_is_default(tmp_path: Path) -> None:
    settings, path = _settings(tmp_path, "docker-0.1.0-first.json")
    assert settings.get("prompt") == "a lighthouse"
    assert settings.get("seed") == 99
    assert settings.get("area") == DEFAULTS["area"]
    assert settings.problem is None
    settings.save()
    assert json.loads(path.read_text())["format"] == 1


def test_values_of_this_format_are_read_whole(tmp_path: Path) -> None:
    settings, _ = _settings(tmp_path, "docker-format-1.json")
    kept = json.loads((KEPT / "docker-format-1.json").read_text())
    assert {name: settings.get(name) for name in kept if name != "format"} == {
        name: value for name, value in kept.items() if name != "format"
    }


def test_values_of_a_newer_nijimi_are_not_used_and_not_written_over(tmp_path: Path) -> None:
    settings, path = _settings(tmp_path, "docker-format-2.json")
    before = path.read_bytes()
    assert settings.problem is not None
    assert "newer" in settings.problem[0]
    assert settings.get("strength") == DEFAULTS["strength"]
    settings.set("prompt", "something new")
    settings.save()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "command", "is_told"),
    [("config-0.1.0-first.json", 4, False), ("config-format-2.json", 0, True)],
)
def test_the_installer_s_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: int, is_told: bool
) -> None:
    monkeypatch.setenv("NIJIMI_CONFIG", str(KEPT / name))
    config = read_config()
    assert len(config.backend_command) == command
    assert (config.problem is not None) is is_told


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ({"url": "ws://studio:1/nijimi", "token_file": "t"}, "wss://"),
        ({"url": "wss://studio/nijimi", "token_file": "t"}, "port"),
        ({"url": "wss://studio:1/nijimi"}, "token_file"),
        ("studio", "makes no sense"),
    ],
)
def test_a_remote_backend_that_makes_no_sense_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: Any, words: str
) -> None:
    path = tmp_path / "config.json"
    monkeypatch.setenv("NIJIMI_CONFIG", str(path))
    path.write_text(json.dumps({"remote": remote}))
    problem = read_config().problem
    assert problem is not None
    assert words in problem[0]
    path.write_text(json.dumps({"remote": {"url": "wss://[::1]:8443/x", "token_file": "t"}}))
    found = read_config().remote
    assert found is not None
    assert (found.host, found.port) == ("::1", 8443)


def test_control_layers_of_this_version_come_back() -> None:
    (row,) = Controls.rows_of((KEPT / "controls-1.json").read_text())
    assert (row.kind, row.scale, row.end) == ("pose", 1.25, 0.8)
    region, lines = Controls.rows_of((KEPT / "controls-2.json").read_text())
    assert (region.kind, region.prompt, lines.region) == ("region", "a red boat", "c0")


def test_control_layers_of_a_newer_nijimi_stay_in_the_file(application: Any, world: World) -> None:
    newer = (KEPT / "controls-3.json").read_text()
    world.canvas.notes["B"] = newer
    world.go_to("B")
    assert "newer Nijimi" in world.state.problem
    world.canvas.watcher.changed.emit()
    assert "newer Nijimi" in world.state.problem
    world.flow.controls.add_person("standing")
    spin(application, 600)
    assert world.canvas.notes["B"] == newer
    # Another document's are kept as ever.
    world.go_to("A")
    assert "newer Nijimi" not in world.state.problem
    world.flow.controls.add_person("standing")
    spin(application, 600)
    assert json.loads(world.canvas.notes["A"])["rows"]
