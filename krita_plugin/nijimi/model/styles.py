"""Files of styles enter; the styles that the docker offers leave, observable.

A style is a JSON file: words around the prompt, a model, LoRAs, and how live and finished pictures
are sampled. Those that come along lie in ``styles`` in the package; the painter's own lie in
``nijimi/styles`` in the folder of the settings, and one of the same name takes the other's place.

Signals:
    changed()  there are others now
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nijimi_protocol.errors import ProtocolError
from nijimi_protocol.fields import Fields
from nijimi_protocol.limits import Limits
from nijimi_protocol.params import MAX_STEPS, SAMPLERS

from ..qt import QtCore, Signal
from ..texts import language, tr
from .config import user_config_dir
from .whole_file import write_whole

__all__ = ["PLAIN", "Sampling", "Style", "Styles", "own_styles_dir"]

FORMAT = 1
"""Of the files; newer ones are passed over and stay as they are."""

_GIVEN = Path(__file__).resolve().parent.parent / "styles"
_PLACE = "{prompt}"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a picture is sampled. Fields as in ``RenderParams``."""

    sampler: str = "auto"
    steps: int = 2
    guidance_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Style:
    """One style. ``name`` is its file's, "" for none at all; ``model`` "" keeps the one in use.

    ``prompt`` has ``{prompt}`` where the painter's words go. ``loras``: names with their weights.
    """

    name: str = ""
    titles: Mapping[str, str] = field(default_factory=dict[str, str])
    model: str = ""
    prompt: str = _PLACE
    negative_prompt: str = ""
    loras: tuple[tuple[str, float], ...] = ()
    live: Sampling = field(default_factory=Sampling)
    final: Sampling = field(default_factory=lambda: Sampling(steps=8))
    is_own: bool = False

    @property
    def title(self) -> str:
        """In the painter's language, where the file knows it."""
        found = self.titles.get(language()) or self.titles.get("en")
        return found or self.name or tr("No style")

    def compose(self, prompt: str) -> str:
        """The painter's words within the style's, and its LoRAs behind them."""
        if self.prompt in ("", _PLACE) and not self.loras:
            return prompt
        template = self.prompt if _PLACE in self.prompt else f"{_PLACE}, {self.prompt}"
        words = template.replace(_PLACE, prompt.strip()).strip(" ,")
        loras = (f"<lora:{name}:{weight:g}>" for name, weight in self.loras)
        return " ".join([words, *loras]).strip()

    def compose_negative(self, prompt: str) -> str:
        return ", ".join(part for part in (prompt.strip(), self.negative_prompt.strip()) if part)


PLAIN = Style()


def own_styles_dir() -> Path:
    return user_config_dir() / "nijimi" / "styles"


class Styles(QtCore.QObject):
    """All styles by name."""

    changed = Signal()

    def __init__(self, own: Path | None = None, parent: Any = None) -> None:
        super().__init__(parent)
        self._own = own
        self._known: dict[str, Style] = {}
        self.problems: tuple[tuple[str, str], ...] = ()
        """A sentence and what to do for each file that is no style."""
        self.load()

    @property
    def entries(self) -> tuple[Style, ...]:
        """By title, behind none at all."""
        return (PLAIN, *sorted(self._known.values(), key=lambda style: style.title.casefold()))

    def get(self, name: str) -> Style:
        """``PLAIN`` for a name that is not known any more."""
        return self._known.get(name, PLAIN)

    def load(self) -> None:
        """Read all files again."""
        self._known = {}
        problems: list[tuple[str, str]] = []
        folders = [(_GIVEN, False)] + ([(self._own, True)] if self._own is not None else [])
        for folder, is_own in folders:
            for path in sorted(folder.glob("*.json")):
                try:
                    self._known[path.stem] = _read(path, is_own)
                except (OSError, ValueError, ProtocolError):
                    problems.append(
                        (
                            tr("The style {path} cannot be read.", path=path.name),
                            tr("Mend it, or remove it: {folder}", folder=folder),
                        )
                    )
        self.problems = tuple(problems)
        self.changed.emit()

    def save(self, style: Style) -> Style:
        """Write one of the painter's own; a name is made of its title where it has none yet.

        Raises ``OSError``.
        """
        if self._own is None:
            raise OSError("there is no folder for styles")
        name = style.name or self._new_name(style.title)
        path = self._own / f"{name}.json"
        write_whole(path, _to_json(style))
        self.load()
        return self.get(name)

    def remove(self, name: str) -> None:
        """Remove one of the painter's own; one that came along is itself again. ``OSError``."""
        if self._own is not None and self.get(name).is_own:
            (self._own / f"{name}.json").unlink(missing_ok=True)
            self.load()

    def _new_name(self, title: str) -> str:
        word = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "style"
        names = (word, *(f"{word}-{n}" for n in range(2, 1000)))
        return next(name for name in names if name not in self._known)


def _read(path: Path, is_own: bool) -> Style:
    f = Fields(json.loads(path.read_text(encoding="utf-8")))
    f.integer("format", 1, FORMAT)
    limits = Limits()
    titles = f.part("title")
    loras = [Fields(each) for each in f.items("loras", 20)]
    return Style(
        name=path.stem,
        titles={name: titles.text(name, 80) for name in titles.names()},
        model=f.text("model", 256),
        prompt=f.text("prompt", limits.max_prompt_chars),
        negative_prompt=f.text("negative_prompt", limits.max_prompt_chars),
        loras=tuple((each.text("name", 256), each.number("weight")) for each in loras),
        live=_sampling(f.part("live")),
        final=_sampling(f.part("final")),
        is_own=is_own,
    )


def _sampling(f: Fields) -> Sampling:
    sampler = f.text("sampler", 64)
    if sampler not in SAMPLERS:
        raise ValueError(f"no sampler: {sampler}")
    return Sampling(
        sampler=sampler,
        steps=f.integer("steps", 1, MAX_STEPS),
        guidance_scale=f.ratio("guidance_scale", 30.0),
    )


def _to_json(style: Style) -> str:
    return json.dumps(
        {
            "format": FORMAT,
            "title": dict(style.titles),
            "model": style.model,
            "prompt": style.prompt,
            "negative_prompt": style.negative_prompt,
            "loras": [{"name": name, "weight": weight} for name, weight in style.loras],
            "live": vars(style.live),
            "final": vars(style.final),
        },
        ensure_ascii=False,
        indent=1,
    )
