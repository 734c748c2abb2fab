"""Styles: files, words around the prompt, and the form in which they are edited."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nijimi.contents import Contents
from nijimi.model.settings import Settings
from nijimi.model.styles import PLAIN, Sampling, Style, Styles, own_styles_dir
from nijimi.qt import QtWidgets
from nijimi_protocol.limits import Limits

from .flow_world import World

KEPT = Path(__file__).with_name("kept_files") / "style-1.json"


def test_a_dozen_styles_come_along_and_each_can_be_used() -> None:
    styles = Styles()
    assert styles.problems == ()
    given = styles.entries[1:]
    assert len(given) >= 12
    assert len({style.title for style in given}) == len(given)
    for style in given:
        assert set(style.titles) == {"en", "ja"}
        settings = Settings()
        settings.use_style(style)
        settings.set("prompt", "a boat")
        params = settings.params().checked(Limits())
        assert params.prompt.startswith("a boat, ")
        settings.final_params(params).checked(Limits())


@pytest.mark.parametrize(
    ("template", "prompt", "composed"),
    [
        ("{prompt}, oil painting", "a boat", "a boat, oil painting"),
        ("{prompt}, oil painting", "", "oil painting"),
        ("oil painting of {prompt}, rich", " a boat ", "oil painting of a boat, rich"),
        ("oil painting", "a boat", "a boat, oil painting"),
        ("{prompt}", "a {boat}", "a {boat}"),
        ("", "a boat", "a boat"),
    ],
)
def test_words_of_a_style_go_around_the_painter_s(
    template: str, prompt: str, composed: str
) -> None:
    assert Style(prompt=template).compose(prompt) == composed
    loras = Style(prompt=template, loras=(("boats", 0.7),)).compose(prompt)
    assert loras == f"{composed} <lora:boats:0.7>"


def test_no_style_leaves_the_prompt_to_the_letter() -> None:
    settings = Settings()
    settings.set("prompt", "  a, b ,")
    assert settings.params().prompt == "  a, b ,"
    assert PLAIN.compose_negative("") == ""
    assert Style(negative_prompt="people").compose_negative("cars") == "cars, people"


def test_a_style_sets_how_live_and_finished_pictures_are_made(tmp_path: Path) -> None:
    shutil.copy(KEPT, tmp_path / "harbour.json")
    style = Styles(tmp_path).get("harbour")
    settings = Settings()
    settings.use_style(style)
    params = settings.params()
    assert (params.model, params.sampler, params.num_inference_steps) == (
        "dreamy.safetensors", "lcm", 3,
    )  # fmt: skip
    assert (params.guidance_scale, params.negative_prompt) == (1.5, "people")
    final = settings.final_params(params)
    assert (final.sampler, final.num_inference_steps, final.guidance_scale) == (
        "dpmpp_2m", 24, 6.0,
    )  # fmt: skip
    settings.set("num_inference_steps", 5)
    assert settings.params().num_inference_steps == 5, "what a style sets can be set after"


def test_one_of_the_painter_s_own_takes_the_other_s_place_until_it_is_removed(
    tmp_path: Path,
) -> None:
    styles = Styles(tmp_path)
    given = styles.get("oil")
    shutil.copy(KEPT, tmp_path / "oil.json")
    styles.load()
    assert styles.get("oil").title == "Harbour at dusk"
    assert styles.get("oil").is_own
    styles.remove("oil")
    assert styles.get("oil") == given
    styles.remove("oil")
    assert styles.get("oil") == given, "one that came along was removed"


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99}, {"live": {}}, {"prompt": 7}, {"loras": [{"name": "a"}]},
        {"final": {"sampler": "magic", "steps": 4, "guidance_scale": 1.0}},
        {"live": {"sampler": "lcm", "steps": 10**6, "guidance_scale": 1.0}},
    ],
    ids=["newer", "no live", "no words", "no weight", "no sampler", "too many steps"],
)  # fmt: skip
def test_a_file_that_is_no_style_is_told_and_left_as_it_is(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    text = json.dumps(json.loads(KEPT.read_text(encoding="utf-8")) | change)
    (tmp_path / "mine.json").write_text(text, encoding="utf-8")
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    styles = Styles(tmp_path)
    assert [sentence for sentence, _ in styles.problems] == [
        "The style mine.json cannot be read.", "The style torn.json cannot be read.",
    ]  # fmt: skip
    assert styles.get("mine") is PLAIN
    assert (tmp_path / "mine.json").read_text(encoding="utf-8") == text


def test_a_style_changes_what_the_backend_is_asked_for(world: World) -> None:
    world.settings.set("prompt", "a boat")
    world.settings.use_style(Styles().get("watercolour"))
    assert world.params()[-1].prompt.startswith("a boat, watercolour painting")
    world.settings.use_style(PLAIN)
    assert world.params()[-1].prompt == "a boat"


def _find(parent: Any, name: str) -> Any:
    found = parent.findChild(QtWidgets.QWidget, f"nijimi_{name}")
    assert found is not None, name
    return found


def test_the_docker_chooses_a_style_and_remembers_it(
    make_contents: Callable[[], Contents],
) -> None:
    contents = make_contents()
    field = _find(contents.panel, "style")
    field.setCurrentIndex(field.findData("ink"))
    field.activated.emit(field.currentIndex())
    assert contents.settings.params().prompt.startswith("ink drawing")
    contents.settings.save()
    again = make_contents()
    assert again.settings.get("style") == "ink"
    assert again.settings.params().prompt.startswith("ink drawing")
    assert _find(again.panel, "style").currentData() == "ink"


def test_a_style_is_edited_in_a_form_and_kept(make_contents: Callable[[], Contents]) -> None:
    contents = make_contents()
    contents.settings.use_style(contents.styles.get("ink"))
    dialog = _find(contents.panel, "style").edit()
    _find(dialog, "style_title").setText("")
    _find(dialog, "style_new").click()
    assert _find(dialog, "style_told").text() == "Give the style a name."
    _find(dialog, "style_title").setText("Night ink!")
    _find(dialog, "style_prompt").setText("{prompt} at night, ink")
    _find(dialog, "style_loras").setText("a:b:c")
    _find(dialog, "style_new").click()
    assert "name:weight" in _find(dialog, "style_told").text()
    _find(dialog, "style_loras").setText("lines:0.5, dark")
    _find(dialog, "style_live_steps").setValue(4)
    _find(dialog, "style_final_guidance").setValue(2.5)
    _find(dialog, "style_new").click()
    kept = contents.styles.get("night-ink")
    assert (kept.title, kept.prompt) == ("Night ink!", "{prompt} at night, ink")
    assert kept.loras == (("lines", 0.5), ("dark", 1.0))
    assert kept.live == Sampling(sampler="auto", steps=4)
    assert kept.final.guidance_scale == 2.5
    assert (own_styles_dir() / "night-ink.json").is_file()
    assert contents.settings.get("style") == "night-ink"
    assert contents.settings.get("num_inference_steps") == 4
    again = _find(contents.panel, "style").edit()
    _find(again, "style_remove").click()
    assert not (own_styles_dir() / "night-ink.json").exists()
    assert contents.settings.get("style") == ""


def test_a_folder_that_takes_no_file_is_told(
    make_contents: Callable[[], Contents], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = make_contents()
    own_styles_dir().parent.mkdir(parents=True, exist_ok=True)
    own_styles_dir().write_text("a file, not a folder", encoding="utf-8")
    dialog = _find(contents.panel, "style").edit()
    _find(dialog, "style_title").setText("Mine")
    _find(dialog, "style_new").click()
    assert "cannot be written" in _find(dialog, "style_told").text()
    dialog.close()
