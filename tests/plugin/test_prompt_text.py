"""Weights and completions in a prompt, by place and by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi.model.prompt_text import adjust_weight, complete, started_word


def _at(marked: str) -> tuple[str, int, int]:
    """A text with | around what is selected, or one | for the cursor."""
    first = marked.index("|")
    rest = marked[:first] + marked[first + 1 :]
    second = rest.find("|")
    if second < 0:
        return rest, first, first
    return rest[:second] + rest[second + 1 :], first, second


@pytest.mark.parametrize(
    ("marked", "steps", "result"),
    [
        ("a red| house", 1, "a (|red|:1.1) house"),
        ("a |red house|", 2, "a (|red house|:1.2)"),
        ("a |red house |by", -1, "a (|red house|:0.9) by"),
        ("a (re|d:1.1) house", 1, "a (|red|:1.2) house"),
        ("a (re|d:1.1) house", -1, "a |red| house"),
        ("a (|red|:0.9) house", 1, "a |red| house"),
        ("a (re|d) house", 1, "a (|red|:1.2) house"),
        ("((red:1.3) ho|use:1.2)", 1, "(|(red:1.3) house|:1.3)"),
        ("((re|d:1.3) house:1.2)", 1, "((|red|:1.4) house:1.2)"),
        (r"smile \(ki|nd\)", 1, r"smile \((|kind|:1.1)\)"),
        ("<lora:i|nk:0.8> sea", 1, "|<lora:ink:0.85>| sea"),
        ("<lora:ink:0.8:0.5>| sea", -2, "|<lora:ink:0.7:0.5>| sea"),
        ("| ", 1, "|| "),
        ("(red:4.9|5)", 3, "(|red|:5)"),
    ],
)
def test_a_weight_is_changed_in_place(marked: str, steps: int, result: str) -> None:
    edit = adjust_weight(*_at(marked), steps)
    shown = edit.text[: edit.start] + "|" + edit.text[edit.start : edit.end] + "|"
    assert shown + edit.text[edit.end :] == result


@given(st.text("ab (),.:<>\\1lora", max_size=30), st.integers(0, 30), st.integers(0, 30),
       st.integers(-3, 3))  # fmt: skip
def test_any_place_of_any_text_can_be_asked_for(text: str, a: int, b: int, steps: int) -> None:
    edit = adjust_weight(text, min(a, len(text)), min(b, len(text)), steps)
    assert 0 <= edit.start <= edit.end <= len(edit.text)


@given(st.text("abc ", min_size=1, max_size=12).filter(str.strip), st.integers(1, 9))
def test_up_and_down_again_gives_back_the_words(words: str, steps: int) -> None:
    words = words.strip()
    edit = adjust_weight(words, 0, len(words), steps)
    back = adjust_weight(edit.text, edit.start, edit.end, -steps)
    assert back.text == words


@pytest.mark.parametrize(
    ("before", "start", "begun"),
    [
        ("a house, pine tr", 9, "pine tr"),
        ("a house", 0, "a house"),
        ("sea, <lora:in", 5, "<lora:in"),
        ("sea <", 4, "<"),
        ("in __colo", 3, "__colo"),
        ("(red ho", 1, "red ho"),
        ("", 0, ""),
    ],
)
def test_the_word_that_was_begun(before: str, start: int, begun: str) -> None:
    assert started_word(before + " later", len(before)) == (start, begun)


def test_completions_that_begin_so_come_first() -> None:
    found = complete("pin", ["ink"], ["pinup"], ["opinion", "pine tree"])
    assert [each.text for each in found] == ["pinup", "pine tree", "opinion"]
    assert [each.text for each in complete("<lora:i", ["sumi", "ink"], [], [])] == [
        "<lora:ink:0.8>", "<lora:sumi:0.8>",
    ]  # fmt: skip
    assert len(complete("<", ["ink", "sumi"], ["pinup"], [])) == 2
    assert complete("p", [], ["pinup"], []) == [], "one letter is no wish yet"
    assert len(complete("ta", [], [], [f"tag {n}" for n in range(500)])) == 30
