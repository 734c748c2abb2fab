"""Changes of control layers enter; one observable list of them leaves, and its text for the file.

Signals:
    changed()  the list is another one now
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..qt import QtCore, Signal

__all__ = ["KINDS", "MAX_ROWS", "REFERENCES", "REGION", "VERSION", "ControlRow", "Controls"]

REGION = "region"
"""A layer whose words count where it covers the picture; it stays a part of the picture."""

KINDS = (
    (REGION, "Region"),
    ("pose", "Pose"),
    ("scribble", "Scribble"),
    ("lineart", "Line art"),
    ("softedge", "Soft edge"),
    ("canny", "Canny edges"),
    ("mlsd", "Straight lines"),
    ("depth", "Depth"),
    ("normal", "Normals"),
    ("seg", "Segmentation"),
    ("tile", "Tile"),
    ("blur", "Blur"),
    ("reference", "Reference"),
    ("style", "Reference of style"),
    ("face", "Reference of a face"),
)
"""Each kind with its name for painters."""

REFERENCES = ("reference", "style", "face")
"""Kinds that lead the whole picture, and no part of it."""

MAX_ROWS = 8

VERSION = 2
"""Of the text in a document's file; the first knew no regions, and what has none is written as
it, so that an older Nijimi still reads it."""


@dataclass(frozen=True, kw_only=True)
class ControlRow:
    """One control layer of a document; ``scale`` in [0, 2], ``start`` and ``end`` in [0, 1].

    ``prompt`` is a region's; ``region`` the id of the one that the control is limited to, or "".
    """

    id: str
    kind: str
    node_id: str
    node_name: str
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    enabled: bool = True
    process: bool = False
    prompt: str = ""
    region: str = ""


class Controls(QtCore.QObject):
    """The control layers of the document in front."""

    changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: tuple[ControlRow, ...] = ()

    def set_rows(self, rows: tuple[ControlRow, ...]) -> None:
        if rows != self.rows:
            self.rows = rows
            self.changed.emit()

    def add(self, kind: str, node_id: str, node_name: str) -> None:
        """Add a row, unless there are ``MAX_ROWS`` or the layer has one of that kind."""
        known = any(row.node_id == node_id and row.kind == kind for row in self.rows)
        if known or len(self.rows) >= MAX_ROWS:
            return
        taken = {row.id for row in self.rows}
        name = next(f"c{n}" for n in range(MAX_ROWS + 1) if f"c{n}" not in taken)
        row = ControlRow(id=name, kind=kind, node_id=node_id, node_name=node_name)
        self.set_rows((*self.rows, row))

    def update(self, row_id: str, **values: Any) -> None:
        self.set_rows(
            tuple(replace(row, **values) if row.id == row_id else row for row in self.rows)
        )

    def relink(self, gone_id: str, there_id: str) -> None:
        """One layer stands for another now."""
        self.set_rows(
            tuple(
                replace(row, node_id=there_id) if row.node_id == gone_id else row
                for row in self.rows
            )
        )

    def move(self, row_id: str, by: int) -> None:
        """So many places down, or up; at the ends it stays."""
        rows = list(self.rows)
        at = next(n for n, row in enumerate(rows) if row.id == row_id)
        row = rows.pop(at)
        rows.insert(max(0, at + by), row)
        self.set_rows(tuple(rows))

    def remove(self, row_id: str) -> None:
        """A control that was limited to a region that goes counts everywhere again."""
        self.set_rows(
            tuple(
                replace(row, region="") if row.region == row_id else row
                for row in self.rows
                if row.id != row_id
            )
        )

    @staticmethod
    def is_newer(text: str) -> bool:
        """Whether a later Nijimi wrote it: then it is not ours to understand, or to replace."""
        try:
            version: Any = json.loads(text).get("version")
        except (ValueError, AttributeError, RecursionError):
            return False
        return isinstance(version, int) and version > VERSION

    def text(self) -> str:
        """For the document's file."""
        rows = [asdict(row) for row in self.rows]
        if not any(row.kind == REGION for row in self.rows):
            for row in rows:
                del row["prompt"], row["region"]
            return json.dumps({"version": 1, "rows": rows})
        return json.dumps({"version": VERSION, "rows": rows})

    @staticmethod
    def rows_of(text: str) -> tuple[ControlRow, ...]:
        """What ``text`` wrote; of anything else what can be understood, mostly nothing."""
        try:
            value: Any = json.loads(text)
            is_known = value.get("version") in range(1, VERSION + 1)
            found = value["rows"][:MAX_ROWS] if is_known else []
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return ()
        return tuple(ControlRow(**values) for values in found if _is_row(values))


_TEXTS = ("id", "kind", "node_id", "node_name")
_NUMBERS = {"scale": 2.0, "start": 1.0, "end": 1.0}
_FLAGS = ("enabled", "process")
_SINCE_2 = {"prompt": 4000, "region": 32}
"""Texts that the second version added, and their lengths."""


def _is_row(values: Any) -> bool:
    """Whether a file's values are those of a row, of the right types and within their ranges."""
    if not isinstance(values, dict):
        return False
    if set(values) - set(_SINCE_2) != {*_TEXTS, *_NUMBERS, *_FLAGS}:
        return False
    return (
        all(isinstance(values[name], str) and len(values[name]) <= 256 for name in _TEXTS)
        and all(isinstance(values[name], bool) for name in _FLAGS)
        and all(
            isinstance(values[name], (int, float)) and 0 <= values[name] <= most
            for name, most in _NUMBERS.items()
        )
        and values["kind"] in {kind for kind, _ in KINDS}
        and len(values["id"]) <= 32
        and all(
            isinstance(values.get(name, ""), str) and len(values.get(name, "")) <= most
            for name, most in _SINCE_2.items()
        )
    )
