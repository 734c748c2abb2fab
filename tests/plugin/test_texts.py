"""Texts: everything that a painter reads has a translation, and none is cut at a docker's width."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nijimi import texts
from nijimi.contents import Contents
from nijimi.model.actions import ACTIONS
from nijimi.model.controls import KINDS, Controls
from nijimi.model.set_up_choice import Known
from nijimi.qt import QtWidgets
from nijimi.texts import languages, told, tr
from nijimi.ui.control_rows import ControlRows
from nijimi.ui.set_up_guide import SetUpGuide

from .flow_world import Canvas

PLUGIN = Path(texts.__file__).parent
LANGUAGES = [name for name in languages() if name != "en"]
WIDTH_PX = 260

UNTRANSLATED = {
    "LCM", "TCD", "Euler a", "Euler", "Heun", "DDIM", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE",
    "UniPC", "", "%", "px",
}  # fmt: skip
"""Names that are the same everywhere."""


def _catalogue(language: str) -> dict[str, str]:
    return json.loads((PLUGIN / "languages" / f"{language}.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["en", *LANGUAGES])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NIJIMI_LANGUAGE", request.param)
    texts.language.cache_clear()
    yield request.param
    monkeypatch.undo()
    texts.language.cache_clear()


@pytest.fixture
def contents(language: str, make_contents: Callable[[], Contents]) -> Contents:
    """Made after the language was chosen: texts are read once."""
    return make_contents()


def _constants() -> set[str]:
    found: set[str] = set()
    for path in PLUGIN.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def _asked_for() -> set[str]:
    """What the code asks ``tr`` for by a literal, and what it asks for by a table."""
    found = {title for _, title in KINDS}
    for action in ACTIONS:
        found |= {action.title, action.tip}
    for path in PLUGIN.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "tr"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_text_has_a_translation(name: str) -> None:
    assert sorted(_asked_for() - set(_catalogue(name))) == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_no_translation_is_left_over(name: str) -> None:
    keys = {key for key in _catalogue(name) if not key.startswith("code:")}
    presets = {preset.capitalize() for preset in Canvas().room().pose_presets}
    assert sorted(keys - _constants() - presets - {"Sitting", "Running", "Waving", "Behind"}) == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_translations_have_the_same_places_for_values(name: str) -> None:
    for key, text in _catalogue(name).items():
        wanted = {field for _, field, _, _ in string.Formatter().parse(key) if field}
        there = {field for _, field, _, _ in string.Formatter().parse(text) if field}
        assert wanted == there, key


def _shown(contents: Contents) -> Iterator[tuple[str, str]]:
    """Every text and tip of the docker, with the kind of its widget."""
    for widget in contents.panel.findChildren(QtWidgets.QWidget):
        kind = type(widget).__name__
        yield kind, widget.toolTip()
        if isinstance(widget, (QtWidgets.QAbstractButton, QtWidgets.QLabel)):
            yield kind, widget.text()
        if isinstance(widget, QtWidgets.QComboBox):
            for n in range(widget.count()):
                yield kind, widget.itemText(n)
        if isinstance(widget, QtWidgets.QPlainTextEdit):
            yield kind, widget.placeholderText()
        if isinstance(widget, QtWidgets.QMenu):
            for action in widget.actions():
                yield kind, action.text()


def test_nothing_in_the_docker_stays_english(contents: Contents, language: str) -> None:
    contents.controls.add("scribble", "{1}", "線")
    shown = {text for _, text in _shown(contents)}
    assert len(shown) > 60
    if language != "ja":
        return
    left = [
        text
        for text in shown
        # Numbers with their unit, and names, are the same everywhere.
        if text not in UNTRANSLATED
        and not re.fullmatch(r"[\d\s%.]+", text)
        and not re.search("[\u3040-\u30ff\u4e00-\u9fff]", text)
    ]
    assert left == []


def test_no_text_is_cut_at_the_width_of_a_narrow_docker(
    contents: Contents, application: Any, language: str
) -> None:
    contents.controls.add("scribble", "{1}", "paint")
    panel = contents.panel
    panel.findChild(QtWidgets.QToolButton, "nijimi_more").click()
    panel.resize(WIDTH_PX, 900)
    panel.show()
    application.processEvents()
    assert panel.width() == WIDTH_PX, f"it needs {panel.minimumSizeHint().width()} px"
    for widget in panel.findChildren(QtWidgets.QWidget):
        if not widget.isVisible():
            continue
        is_text = isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QLabel))
        if is_text and widget.text() and not getattr(widget, "wordWrap", lambda: False)():
            needed = widget.fontMetrics().horizontalAdvance(widget.text())
            assert widget.width() >= needed, f"{widget.text()!r} is cut"
    panel.hide()


@pytest.mark.parametrize("page", range(4))
def test_the_guide_speaks_the_language_and_cuts_nothing(
    application: Any, language: str, page: int
) -> None:
    guide = SetUpGuide(Known(backend="/x/python", can_install=True, home="/x"))
    guide.where.show_room(10 * 2**30, 4 * 2**30)
    guide.where.show_python("", "")
    guide.setStartId(page)
    guide.show()
    application.processEvents()
    shown = guide.currentPage()
    texts_seen = [shown.title(), shown.subTitle()]
    for widget in guide.findChildren(QtWidgets.QWidget):
        if not widget.isVisible() or not isinstance(
            widget, (QtWidgets.QAbstractButton, QtWidgets.QLabel)
        ):
            continue
        text = widget.text().replace("&", "")
        texts_seen.append(text)
        if text and not getattr(widget, "wordWrap", lambda: False)():
            needed = widget.fontMetrics().horizontalAdvance(text)
            assert widget.width() >= needed, f"{text!r} is cut"
    guide.hide()
    guide.deleteLater()
    if language == "ja":
        left = {text for text in texts_seen if text and not text.startswith(("/x", "<"))}
        assert [text for text in left if not re.search("[\u3040-\u30ff\u4e00-\u9fff]", text)] == []


def test_an_unknown_language_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIJIMI_LANGUAGE", "tlh")
    monkeypatch.setenv("LANGUAGE", "tlh:xx")
    texts.language.cache_clear()
    assert tr("Strength") == "Strength"
    assert tr("Layer: {name}", name="sky") == "Layer: sky"
    monkeypatch.setenv("LANGUAGE", "xx:ja_JP")
    texts.language.cache_clear()
    assert tr("Strength") == "強さ"
    assert tr("Layer: {name}", name="空") == "レイヤー: 空"
    assert told("out_of_memory", "It does not fit.") == "メモリが足りません。 (It does not fit.)"
    assert told("of another time", "Something.") == "Something."
    monkeypatch.undo()
    texts.language.cache_clear()


def test_control_menus_are_translated(application: Any, language: str) -> None:
    rows = ControlRows(Controls(), Canvas().room().icon, ("standing",), lambda: ((), (), ()))
    menu = rows.findChild(QtWidgets.QMenu)
    titles = [action.text() for action in menu.actions() if action.text()]
    assert len(titles) == len(KINDS) + 4
    if language == "ja":
        assert "アクティブなレイヤーから落書き" in titles
