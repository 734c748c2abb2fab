"""Nothing enters; our protocol, which travels inside the plugin, becomes importable.

The plugin's archive carries it in ``vendor``, and nothing else there: what other plugins import
must stay theirs. In a source tree that folder is absent, and the installed package is used.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["use_vendored_packages"]


def use_vendored_packages() -> None:
    """Put ``vendor`` first on the path: an older copy of ours must not win."""
    vendor = str(Path(__file__).resolve().parent / "vendor")
    if Path(vendor).is_dir() and vendor not in sys.path:
        sys.path.insert(0, vendor)
