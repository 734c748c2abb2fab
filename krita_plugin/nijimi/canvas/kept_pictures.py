"""Generated pictures enter as packed bytes; the document's file holds them, apart from layers."""

# The Krita seam: Krita's module has no types, and exists inside Krita only.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

from typing import Any

from ..qt import QtCore
from .document import document_id
from .journal import Journal

__all__ = ["keep_picture", "kept_pictures"]

_PREFIX = "nijimi/pictures/"


def kept_pictures(document: Any) -> dict[str, bytes]:
    """What was kept, by name."""
    return {
        kind.removeprefix(_PREFIX): bytes(document.annotation(kind))
        for kind in document.annotationTypes()
        if kind.startswith(_PREFIX)
    }


def keep_picture(journal: Journal, document: Any, name: str, data: bytes) -> None:
    """Keep one until the file is saved with it; empty ``data`` forgets it."""
    kind = _PREFIX + name
    is_there = kind in document.annotationTypes()
    if not data and not is_there:
        return
    what = "keep a picture in the file" if data else "forget a picture in the file"
    with journal.change(document_id(document), what):
        if data:
            document.setAnnotation(kind, "Made by Nijimi", QtCore.QByteArray(data))
        else:
            document.removeAnnotation(kind)
