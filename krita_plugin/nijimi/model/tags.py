"""A file of tags enters; its tags leave, the most used first.

The form is that of the web UIs' completion lists: ``name,kind,count,...`` a line, underscores for
spaces. Put one at ``nijimi/tags.csv`` in the folder of your settings.
"""

from __future__ import annotations

import csv
from pathlib import Path

from .config import user_config_dir

__all__ = ["read_tags", "tags_path"]

_MOST = 200_000


def tags_path() -> Path:
    return user_config_dir() / "nijimi" / "tags.csv"


def read_tags(path: Path) -> tuple[str, ...]:
    """The tags of a file, by their counts where it has any; () where there is none to be read."""
    found: list[tuple[int, str]] = []
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(file):
                if row and row[0].strip():
                    count = int(row[2]) if len(row) > 2 and row[2].isdigit() else 0
                    found.append((-count, row[0].strip().replace("_", " ")))
                if len(found) >= _MOST:
                    break
    except (OSError, csv.Error):
        return ()
    return tuple(tag for _, tag in sorted(found, key=lambda each: each[0]))
