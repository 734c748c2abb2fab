"""Settings, configuration, status line and metrics: values without widgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi.model.config import Config, read_config
from nijimi.model.live_state import LiveState
from nijimi.model.metrics import Metrics, percentile
from nijimi.model.settings import DEFAULTS, Settings


def test_settings_tell_of_real_changes_only() -> None:
    settings, heard = Settings(), []
    settings.changed.connect(heard.append)
    settings.set("strength", 0.9)
    settings.set("strength", 0.9)
    settings.set("prompt", "a boat")
    assert heard == ["strength", "prompt"]
    assert settings.params().strength == 0.9
    assert settings.params().prompt == "a boat"


def test_settings_come_back_but_live_mode_does_not(tmp_path: Path) -> None:
    path = tmp_path / "nijimi" / "docker.json"
    first = Settings(path)
    first.set("prompt", "日本")
    first.set("live", True)
    first.save()
    second = Settings(path)
    assert second.get("prompt") == "日本"
    assert second.get("live") is False


@pytest.mark.parametrize("text", ["", "[]", "{", '{"strength": "high", "seed": null}'])
def test_damaged_settings_give_the_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "docker.json"
    path.write_text(text)
    settings = Settings(path)
    assert {name: settings.get(name) for name in DEFAULTS} == DEFAULTS


def test_a_negative_prompt_brings_the_guidance_it_needs() -> None:
    settings = Settings()
    assert settings.params().guidance_scale == 1.0
    settings.set("negative_prompt", "people")
    assert settings.params().guidance_scale > 1.0


def test_the_configuration_is_read_or_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    monkeypatch.setenv("NIJIMI_CONFIG", str(path))
    assert read_config() == Config()
    path.write_text('{"backend_command": [1]}')
    assert read_config().backend_command == ()
    path.write_text(json.dumps({"backend_command": ["python", "x"], "live_on_start": True}))
    assert read_config() == Config(("python", "x"), live_on_start=True)


@pytest.mark.parametrize(
    ("written", "options"),
    [({}, []), ({"models_dir": "/m"}, ["--models-dir", "/m"]),
     ({"models_dir": "/m", "model_memory_gib": 6},
      ["--models-dir", "/m", "--model-memory-gib", "6.0"]),
     ({"model_memory_gib": -1}, []), ({"model_memory_gib": True}, []),
     ({"model_memory_gib": "6"}, []), ({"eight_bit": True}, ["--eight-bit"]),
     ({"eight_bit": "yes"}, []),
     ({"model_memory_gib": 6, "eight_bit": True}, ["--model-memory-gib", "6.0", "--eight-bit"])],
)  # fmt: skip
def test_the_backend_is_started_as_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: dict[str, object], options: list[str]
) -> None:
    path = tmp_path / "config.json"
    monkeypatch.setenv("NIJIMI_CONFIG", str(path))
    path.write_text(json.dumps(written))
    assert read_config().backend_options == options


def test_a_problem_comes_before_everything_in_the_status_line() -> None:
    state, heard = LiveState(), []
    state.changed.connect(lambda: heard.append(state.line()))
    state.update(state="ready", device="CPU", model="mini", frame_ms=120.0, fps=6.5)
    assert "120 ms" in state.line()
    assert "6.5 fps" in state.line()
    state.tell("params", "The prompt is too long.", "Shorten it.")
    assert heard[-1] == "The prompt is too long. Shorten it."
    state.tell("params", "The prompt is too long.", "Shorten it.")
    assert len(heard) == 2


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], part: float) -> None:
    found = percentile(values, part)
    assert found in values
    assert sum(v < found for v in values) <= part * len(values)


def test_overhead_is_what_the_engine_did_not_need() -> None:
    metrics = Metrics()
    metrics.change(5, 1.000)
    metrics.change(6, 1.050)
    metrics.frame(6, 1.250, model_ms=120.0, timings_ms={"queue": 60.0, "diff": 0.5})
    report = metrics.report()
    assert report["stroke_to_frame_ms"]["p50"] == pytest.approx(200.0)
    assert report["overhead_ms"]["p50"] == pytest.approx(20.0)
    assert report["last_revision_shown"] == 6
    metrics.frame(6, 1.600, model_ms=300.0, timings_ms={"queue": 0.0, "diff": 0.7})
    assert metrics.report()["frames"] == 2
    assert metrics.report()["stroke_to_frame_ms"]["max"] == pytest.approx(200.0)
