"""An English text enters; the same in the painter's language leaves.

English is the key, so a text that is not translated yet can still be read. A language is one file,
``languages/<language>.json``; adding one needs nothing else. Words of the backend have a code: a
translated sentence for the code comes first, and what the backend said follows it.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

from .qt import QtCore

__all__ = ["language", "languages", "told", "tr"]

_FOLDER = Path(__file__).with_name("languages")


def languages() -> tuple[str, ...]:
    """Those that there are, English first."""
    return ("en", *sorted(path.stem for path in _FOLDER.glob("*.json")))


@functools.cache
def language() -> str:
    """Krita's own; NIJIMI_LANGUAGE names another one."""
    wanted = [os.environ.get("NIJIMI_LANGUAGE", "")]
    # Krita puts the language that was chosen in its menu there, and then the system's.
    wanted += os.environ.get("LANGUAGE", "").split(":")
    wanted.append(str(QtCore.QLocale().name()))
    there = languages()
    for name in wanted:
        short = name.replace("-", "_").split("_")[0].lower()
        if short in there:
            return short
    return "en"


@functools.cache
def _catalogue(name: str) -> Mapping[str, str]:
    try:
        found = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(text) for key, text in found.items()}


def tr(text: str, **values: object) -> str:
    """``text`` translated, its ``{names}`` filled with ``values``."""
    found = _catalogue(language()).get(text, text)
    return found.format(**values) if values else found


def told(code: str, sentence: str) -> str:
    """What the backend said, behind what its code means in the painter's language."""
    known = _catalogue(language()).get(f"code:{code}")
    return f"{known} ({sentence})" if known else sentence
