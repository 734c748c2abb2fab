"""Nothing enters; the packages that travel inside the plugin become importable.

Krita's Python has neither our protocol nor ``websockets``. The plugin's archive carries both in
``vendor``; in a source tree that folder is absent, and the installed packages are used.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["use_vendored_packages"]


def use_vendored_packages() -> None:
    """Put ``vendor`` first on the path: another plugin's older copy must not win."""
    vendor = str(Path(__file__).resolve().parent / "vendor")
    if Path(vendor).is_dir() and vendor not in sys.path:
        sys.path.insert(0, vendor)
