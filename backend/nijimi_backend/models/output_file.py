"""A path enters; a place to write to leaves, which becomes that file whole or not at all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInput

__all__ = ["whole_file"]


@contextmanager
def whole_file(target: Path) -> Generator[Path]:
    """Raises ``BadInput`` where ``target`` exists or its folder does not."""
    if target.exists():
        raise BadInput(f"{target} exists already.", "Name another one with --output.")
    if not target.parent.is_dir():
        raise BadInput(f"The folder {target.parent} does not exist.", "Create it first.")
    beside = target.with_name(target.name + ".part")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
