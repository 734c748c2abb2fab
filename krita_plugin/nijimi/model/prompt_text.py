"""A prompt and a place in it enter; what can be done there leaves: another weight, a completion.

Pure. Prompts are written as A1111's web UI reads them: ``(words:1.2)``, ``<lora:name:0.8>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Completion", "Edit", "adjust_weight", "complete", "started_word"]

_WORD_ENDS = " .,\\/!?%^*;:{}=`~()<>|\r\n\t"
_WEIGHT = re.compile(r":(-?\d+(?:\.\d+)?)\Z")
_LORA = re.compile(r"<(lora|lyco|hypernet):([^:<>]+):(-?\d+(?:\.\d+)?)(:[^<>]*)?>")
_STEP, _LORA_STEP = 0.1, 0.05
_LEAST, _MOST = -5.0, 5.0
_MOST_FOUND = 30


class Edit(NamedTuple):
    """A prompt after an edit, and what is selected in it."""

    text: str
    start: int
    end: int


class Completion(NamedTuple):
    """What can be put in place of a word that was begun: what is shown, and what is written."""

    title: str
    text: str


def adjust_weight(text: str, start: int, end: int, steps: int) -> Edit:
    """Make what is selected, or the word at the cursor, weigh ``steps`` tenths more.

    A weight of 1 is no weight: its parentheses go. A LoRA's weight changes by twentieths.
    """
    start, end = min(start, end), max(start, end)
    for found in _LORA.finditer(text):
        if found.start() <= start and end <= found.end():
            return _adjust_lora(text, found, steps)
    if group := _enclosing(text, start, end):
        return _adjust_group(text, *group, steps)
    if start == end:
        start, end = _word_at(text, start)
    while end > start and text[end - 1].isspace():
        end -= 1
    if start == end:
        return Edit(text, start, end)
    return _written(text, start, end, text[start:end], _round(1.0 + _STEP * steps))


def _adjust_lora(text: str, found: re.Match[str], steps: int) -> Edit:
    weight = _round(float(found.group(3)) + _LORA_STEP * steps)
    new = f"<{found.group(1)}:{found.group(2)}:{weight:g}{found.group(4) or ''}>"
    return Edit(
        text[: found.start()] + new + text[found.end() :], found.start(), found.start() + len(new)
    )


def _adjust_group(text: str, left: int, right: int, steps: int) -> Edit:
    inside = text[left + 1 : right]
    weighed = _WEIGHT.search(inside)
    words = inside[: weighed.start()] if weighed else inside
    # Parentheses without a number stand for 1.1.
    weight = float(weighed.group(1)) if weighed else 1.1
    return _written(text, left, right + 1, words, _round(weight + _STEP * steps))


def _written(text: str, start: int, end: int, words: str, weight: float) -> Edit:
    if weight == 1.0:
        return Edit(text[:start] + words + text[end:], start, start + len(words))
    new = f"({words}:{weight:g})"
    return Edit(text[:start] + new + text[end:], start + 1, start + 1 + len(words))


def _round(weight: float) -> float:
    return round(min(_MOST, max(_LEAST, weight)), 2)


def _enclosing(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The innermost parentheses around the place that are not escaped."""
    open_at: list[int] = []
    best: tuple[int, int] | None = None
    for n, character in enumerate(text):
        if n and text[n - 1] == "\\":
            continue
        if character == "(":
            open_at.append(n)
        elif character == ")" and open_at:
            left = open_at.pop()
            holds = left < start or (left == start and end > start)
            if holds and end <= n + (end > start) and (best is None or left > best[0]):
                best = (left, n)
    return best


def _word_at(text: str, at: int) -> tuple[int, int]:
    start = end = at
    while start and text[start - 1] not in _WORD_ENDS:
        start -= 1
    while end < len(text) and text[end] not in _WORD_ENDS:
        end += 1
    return start, end


def started_word(text: str, cursor: int) -> tuple[int, str]:
    """Where the word before the cursor begins, and how it goes so far.

    ``<lora:na`` and ``__na`` are such words, too; what lies between commas is one otherwise, since
    tags consist of several.
    """
    before = text[:cursor]
    if (found := re.search(r"<(?:lora|lyco)?:?[^<>\n]*\Z", before)) or (
        found := re.search(r"__[^_\s,]*(?:_[^_\s,]+)*\Z", before)
    ):
        return found.start(), found.group()
    start = max(before.rfind(end) for end in ",\n(|{}[]:") + 1
    while start < cursor and before[start] == " ":
        start += 1
    return start, before[start:]


def complete(
    begun: str, loras: Iterable[str], embeddings: Iterable[str], tags: Iterable[str]
) -> list[Completion]:
    """What a begun word can become: those that begin with it first, then those that hold it."""
    if begun.startswith("<"):
        name = begun.lstrip("<").removeprefix("lora").removeprefix(":").lower()
        return [
            Completion(f"{each} (LoRA)", f"<lora:{each}:0.8>") for each in _matches(name, loras)
        ]
    if len(begun) < 2:
        return []
    found = [Completion(f"{name} (embedding)", name) for name in _matches(begun, embeddings)]
    found += [Completion(tag, tag) for tag in _matches(begun, tags)]
    return found[:_MOST_FOUND]


def _matches(begun: str, names: Iterable[str]) -> list[str]:
    wanted = begun.lower()
    first: list[str] = []
    rest: list[str] = []
    for name in names:
        low = name.lower()
        if low.startswith(wanted):
            first.append(name)
            if len(first) == _MOST_FOUND:
                # At every letter typed: a list of tags may have a hundred thousand.
                break
        elif wanted and len(rest) < _MOST_FOUND and wanted in low:
            rest.append(name)
    return (first + rest)[:_MOST_FOUND]
