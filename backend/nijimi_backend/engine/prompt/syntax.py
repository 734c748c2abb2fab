"""A prompt as it was written enters; what it says at one step, as weighted texts, leaves. Pure.

The language is that of A1111's web UI, as its wiki ("Features") defines it, and of the wildcards
that painters use with it:

| written | means |
|---|---|
| `(word)`, `((word))` | 1.1 times, 1.21 times as strong |
| `(word:1.3)` | 1.3 times as strong |
| `[word]` | 1.1 times weaker |
| `\\(`, `\\[`, `\\#`, `\\{` | the letter itself |
| `BREAK` | what follows begins a new chunk of 75 tokens |
| `[cat:dog:0.5]` | cat until half of the steps, then dog; a whole number counts steps |
| `[cat:0.5]`, `[cat::0.5]` | cat from there on, cat until there |
| `[cat|dog]` | cat and dog in turn, step by step |
| `{cat|dog}`, `__animals__` | one of them, or one line of animals.txt, chosen by the seed |
| `<lora:name:0.8>`, `<lora:name:0.8:0.5>` | an adapter; two weights are UNet's and text's |
| `<lyco:name:0.8>` | the same, from when LyCORIS was an extension |
| `<hypernet:name:0.8>` | a hypernetwork |
| `# words` | a remark, until the line ends |

Two weights of an adapter: A1111 reads the text encoder's first; we read the UNet's first, as
ComfyUI's own node shows them. Named ones (`te=0.5`, `unet=0.8`) mean the same everywhere.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "BREAK",
    "AdapterUse",
    "Written",
    "choose_alternatives",
    "prompt_at",
    "read_prompt",
    "weighted_texts",
]

BREAK = "BREAK"

_STRONGER = 1.1
_DEEPEST = 40
"""Brackets within brackets that are followed; deeper ones are taken as letters."""

Lines = Callable[[str], Sequence[str]]
"""A wildcard's name in, its lines out; none where there is no such file."""


@dataclass(frozen=True, kw_only=True)
class AdapterUse:
    """One `<lora:…>` of a prompt, or with ``is_hypernet`` one `<hypernet:…>`."""

    name: str
    unet_weight: float
    te_weight: float
    is_hypernet: bool = False


@dataclass(frozen=True, kw_only=True)
class Written:
    """A prompt without remarks and adapters; alternatives are chosen, what changes by step is not.

    ``missing``: wildcards of which there is no file.
    """

    text: str
    adapters: tuple[AdapterUse, ...] = ()
    missing: tuple[str, ...] = ()


def read_prompt(text: str, seed: int = 0, lines: Lines = lambda _name: ()) -> Written:
    """Everything of a prompt that holds for the whole picture."""
    missing: list[str] = []
    plain = _without_remarks(text)
    plain = choose_alternatives(plain, random.Random(seed), lines, missing)
    adapters: dict[tuple[str, bool], AdapterUse] = {}

    def take(match: re.Match[str]) -> str:
        use = _adapter(match.group(2))
        if use is None:
            return match.group(0)
        use = replace(use, is_hypernet=match.group(1).lower() == "hypernet")
        adapters[use.name, use.is_hypernet] = use
        return ""

    plain = re.sub(r"<(lora|lyco|hypernet):([^<>]+)>", take, plain, flags=re.IGNORECASE)
    return Written(text=plain, adapters=tuple(adapters.values()), missing=tuple(missing))


def _without_remarks(text: str) -> str:
    rows = [(re.sub(r"(?<!\\)#.*$", "", row), row) for row in text.split("\n")]
    # A row that was nothing but a remark goes whole.
    kept = [row for row, old in rows if row.strip() or row == old]
    return "\n".join(kept).replace("\\#", "#")


def _adapter(inside: str) -> AdapterUse | None:
    name, *rest = (part.strip() for part in inside.split(":"))
    named: dict[str, float] = {}
    given: list[float] = []
    for part in rest:
        key, equals, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            return None
        if equals:
            named[key.strip().lower()] = value
        else:
            given.append(value)
    if not name or len(given) > 2 or not all(abs(v) <= 100 for v in (*given, *named.values())):
        return None
    unet = named.get("unet", given[0] if given else 1.0)
    te = named.get("te", given[-1] if given else unet)
    return AdapterUse(name=name, unet_weight=unet, te_weight=te)


def choose_alternatives(
    text: str,
    chance: random.Random,
    lines: Lines = lambda _name: (),
    missing: list[str] | None = None,
    depth: int = 0,
) -> str:
    """`{a|b}` and `__name__` become one of theirs, from the left, inner ones last."""
    result: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text):
            # An escape stays one for what reads the text after us, except of our own letters.
            is_ours = text[place + 1] in "{}"
            result.append(text[place + 1] if is_ours else text[place : place + 2])
            place += 2
            continue
        if letter == "{" and depth < _DEEPEST:
            end = _closing(text, place, "{", "}")
            if end > 0:
                options = _split(text[place + 1 : end], "|", "{", "}")
                chosen = options[chance.randrange(len(options))]
                result.append(choose_alternatives(chosen, chance, lines, missing, depth + 1))
                place = end + 1
                continue
        match = re.compile(r"__([\w./ -]+?)__").match(text, place) if letter == "_" else None
        if match and depth < _DEEPEST:
            rows = [row for row in lines(match.group(1)) if row.strip() and row[0] != "#"]
            if rows:
                chosen = chance.choice(rows).strip()
                result.append(choose_alternatives(chosen, chance, lines, missing, depth + 1))
            elif missing is not None:
                missing.append(match.group(1))
            place = match.end()
            continue
        result.append(letter)
        place += 1
    return "".join(result)


def prompt_at(text: str, step: int, steps: int, depth: int = 0) -> str:
    """What the prompt says at ``step`` (from 0) of ``steps``: `[a:b:when]` and `[a|b]` decided."""
    result: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text):
            result.append(text[place : place + 2])
            place += 2
            continue
        end = _closing(text, place, "[", "]") if letter == "[" and depth < _DEEPEST else -1
        if end < 0:
            result.append(letter)
            place += 1
            continue
        inside = text[place + 1 : end]
        chosen = _decided(inside, step, steps)
        if chosen is None:
            result.append("[" + prompt_at(inside, step, steps, depth + 1) + "]")
        else:
            result.append(prompt_at(chosen, step, steps, depth + 1))
        place = end + 1
    return "".join(result)


def _decided(inside: str, step: int, steps: int) -> str | None:
    """The part of a bracket that counts at a step; None where it is only a weaker text."""
    parts = _split(inside, ":", "([", ")]")
    number = parts[-1].strip()
    if len(parts) in (2, 3) and re.fullmatch(r"\d+(\.\d*)?|\.\d+", number):
        until = int(float(number) * steps) if "." in number else int(number)
        before, after = (parts[0], parts[1]) if len(parts) == 3 else ("", parts[0])
        return before if step < min(until, steps) else after
    options = _split(inside, "|", "([", ")]")
    return options[step % len(options)] if len(options) > 1 else None


def weighted_texts(text: str) -> list[tuple[str, float]]:
    """Texts and how strong each is; `BREAK` stands alone, with weight 1.

    A bracket that is never closed holds until the end; one that was never opened is a letter.
    """
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []
    token = re.compile(
        r"\\.|\(|\[|:\s*([+-]?\d*\.?\d+)\s*\)|\)|\]|\bBREAK\b|[^\\()\[\]:B]+|:|B|\\", re.DOTALL
    )

    def multiply(start: int, factor: float) -> None:
        for n in range(start, len(pieces)):
            if pieces[n][0] != BREAK:
                pieces[n] = (pieces[n][0], pieces[n][1] * factor)

    for match in token.finditer(text):
        word = match.group(0)
        if word in "([":
            opened.append((word, len(pieces)))
        elif match.group(1) is not None and opened and opened[-1][0] == "(":
            multiply(opened.pop()[1], float(match.group(1)))
        elif word == ")" and opened and opened[-1][0] == "(":
            multiply(opened.pop()[1], _STRONGER)
        elif word == "]" and opened and opened[-1][0] == "[":
            multiply(opened.pop()[1], 1.0 / _STRONGER)
        elif word == BREAK:
            pieces.append((BREAK, 1.0))
        else:
            pieces.append((word[1:] if word[0] == "\\" and len(word) > 1 else word, 1.0))
    for kind, start in opened:
        multiply(start, _STRONGER if kind == "(" else 1.0 / _STRONGER)
    return _joined(pieces) or [("", 1.0)]


def _joined(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of one weight as one text: words must not be cut where a bracket was not."""
    result: list[tuple[str, float]] = []
    for text, weight in pieces:
        is_break = text == BREAK or (bool(result) and result[-1][0] == BREAK)
        if result and not is_break and result[-1][1] == weight:
            result[-1] = (result[-1][0] + text, weight)
        else:
            result.append((text, weight))
    return result


def _closing(text: str, start: int, opening: str, closing: str) -> int:
    """Where the bracket at ``start`` is closed; -1 where it is not."""
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == opening:
            depth += 1
        elif text[place] == closing:
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return -1


def _split(text: str, at: str, opening: str, closing: str) -> list[str]:
    """Parts between ``at`` outside of all brackets of these kinds."""
    parts, depth, place = [""], 0, 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text):
            letter = text[place : place + 2]
        elif letter in opening:
            depth += 1
        elif letter in closing:
            depth = max(0, depth - 1)
        if letter == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
        place += len(letter)
    return parts
