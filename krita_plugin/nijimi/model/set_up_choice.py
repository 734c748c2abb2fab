"""What the guide asks for enters; where the backend is and what it paints with leaves as values."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DEVICES", "Fetchable", "Known", "fetchables", "own_home"]

DEVICES = (
    ("auto", "Whatever is fastest"),
    ("cpu", "Processor only"),
    ("cuda", "NVIDIA graphics card"),
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is so before the guide asks. ``backend``: the interpreter of one that is installed;
    ``can_install``: the plugin carries what one is made from; ``home``: where it would go."""

    backend: str = ""
    can_install: bool = False
    home: str = ""
    remote_url: str = ""
    token_file: str = ""
    models_folder: str = ""
    memory_gib: float | None = None
    eight_bit: bool = False


@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """A model that can be downloaded, with what it needs beside it. ``size_bytes`` 0: unknown."""

    name: str
    title: str
    licence: str
    page: str
    size_bytes: int
    wants: tuple[str, ...] = ()


def own_home() -> str:
    """A folder for large things that are this user's: where the backend keeps models, too."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return str(base / "nijimi" / "backend")


def fetchables(entries: Any) -> tuple[Fetchable, ...]:
    """Checkpoints of the backend's list, each with the LoRA that makes its family quick enough."""
    rows = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    quick = {
        row.get("family"): row
        for row in rows
        if row.get("kind") == "lora" and str(row.get("name")).startswith("lcm-lora")
    }
    found: list[Fetchable] = []
    for row in rows:
        if row.get("kind") != "checkpoint":
            continue
        beside = [quick[row["family"]]] if row.get("family") in quick else []
        sizes = [int(each.get("bytes", 0)) for each in (row, *beside)]
        found.append(
            Fetchable(
                name=str(row.get("name")),
                title=str(row.get("title")),
                licence=str(row.get("licence")),
                page=str(row.get("page")),
                size_bytes=sum(sizes) if all(sizes) else 0,
                wants=tuple(str(each["name"]) for each in beside),
            )
        )
    return tuple(found)
