"""The prompt editor: keys weigh words and complete them, and the text is otherwise left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nijimi.model.settings import Settings
from nijimi.model.tags import read_tags
from nijimi.qt import QtCore, QtGui, QtWidgets
from nijimi.ui.prompt_editor import PromptEditor

KEYS = QtCore.Qt.Key


@pytest.fixture
def editor(application: Any) -> PromptEditor:
    editor = PromptEditor("", lambda: (("ink wash", "sumi"), ("calm",), ("pine tree", "pink")))
    editor.resize(240, 60)
    editor.show()
    return editor


def _press(
    editor: Any, key: int, text: str = "", *, control: bool = False, alt: bool = False
) -> None:
    modifiers = QtCore.Qt.KeyboardModifier
    held = modifiers.ControlModifier if control else modifiers.NoModifier
    held = modifiers.AltModifier if alt else held
    for kind in (QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease):
        QtWidgets.QApplication.sendEvent(editor, QtGui.QKeyEvent(kind, key, held, text))


def _type(editor: Any, text: str) -> None:
    for character in text:
        _press(editor, 0, character)


def test_a_word_is_weighed_by_keys_and_one_undo_takes_it_back(editor: Any) -> None:
    _type(editor, "a red house")
    _press(editor, KEYS.Key_Escape)
    _press(editor, KEYS.Key_Up, control=True)
    assert editor.toPlainText() == "a red (house:1.1)"
    assert editor.textCursor().selectedText() == "house"
    _press(editor, KEYS.Key_Up, control=True)
    assert editor.toPlainText() == "a red (house:1.2)"
    editor.undo()
    assert editor.toPlainText() == "a red (house:1.1)"
    _press(editor, KEYS.Key_Down, control=True)


def test_a_begun_tag_is_completed(editor: Any) -> None:
    _type(editor, "sea, pi")
    assert [each.text for each in editor.completions] == ["pine tree", "pink"]
    _press(editor, KEYS.Key_Down)
    _press(editor, KEYS.Key_Tab)
    assert editor.toPlainText() == "sea, pink"
    assert editor.completions == []
    # Without an offer the keys are the prompt's own.
    _press(editor, KEYS.Key_Return, "\r")
    assert editor.toPlainText() == "sea, pink\n"


def test_loras_are_offered_by_their_bracket(editor: Any) -> None:
    _type(editor, "sea <")
    assert len(editor.completions) == 2
    _type(editor, "lora:su")
    _press(editor, KEYS.Key_Return, "\r")
    assert editor.toPlainText() == "sea <lora:sumi:0.8>"


def test_escape_goes_on_without(editor: Any) -> None:
    _type(editor, "pin")
    _press(editor, KEYS.Key_Escape)
    assert editor.completions == []
    assert editor.toPlainText() == "pin"


def test_what_has_a_meaning_has_a_colour(editor: Any, application: Any) -> None:
    editor.setPlainText(r"a (red:1.2) \(house\) <lora:ink:1> # later")
    application.processEvents()
    spans = editor.document().firstBlock().layout().formats()
    coloured = {
        editor.toPlainText()[span.start : span.start + span.length]
        for span in spans
        if span.format.hasProperty(QtGui.QTextFormat.Property.ForegroundBrush)
    }
    assert any("<lora:ink:1>" in text for text in coloured)
    assert any("# later" in text for text in coloured)
    assert not any("house" in text for text in coloured)


def test_tags_come_from_a_list_the_most_used_first(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text('pine_tree,0,50,"pines"\nsea,0,900\n\nno count\n')
    assert read_tags(path) == ("sea", "pine tree", "no count")
    assert read_tags(tmp_path / "none.csv") == ()
    path.write_bytes(b"\xff\xfe,0,1\n")
    assert len(read_tags(path)) == 1


def test_prompts_that_were_used_come_back_and_so_does_what_was_being_written(editor: Any) -> None:
    editor.history = lambda: ["newest", "older"]
    _type(editor, "mine")
    _press(editor, KEYS.Key_Up, alt=True)
    assert editor.toPlainText() == "newest"
    for _ in range(3):
        _press(editor, KEYS.Key_Up, alt=True)
    assert editor.toPlainText() == "older"
    for _ in range(4):
        _press(editor, KEYS.Key_Down, alt=True)
    assert editor.toPlainText() == "mine"
    _press(editor, KEYS.Key_Up, alt=True)
    _type(editor, "!")
    _press(editor, KEYS.Key_Up, alt=True)
    assert editor.toPlainText() == "newest", "what was written since is kept below it"
    _press(editor, KEYS.Key_Down, alt=True)
    assert editor.toPlainText() == "newest!"


def test_used_prompts_are_kept_the_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    settings = Settings(path)
    for prompt in ("sea", "  ", "hills", "sea"):
        settings.set("prompt", prompt)
        settings.note_prompt()
    assert settings.get("prompt_history") == ["sea", "hills"]
    settings.save()
    assert Settings(path).get("prompt_history") == ["sea", "hills"]
    path.write_text('{"prompt_history": ["sea", 3]}')
    assert Settings(path).get("prompt_history") == []
    path.write_text('{"prompt_history": "sea"}')
    assert Settings(path).get("prompt_history") == []
    for n in range(50):
        settings.set("prompt", f"prompt {n}")
        settings.note_prompt()
    assert len(settings.get("prompt_history")) == 30
