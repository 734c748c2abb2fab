"""PyQt5 or PyQt6 enters, whichever Krita runs on; one set of names leaves.

Krita 5 embeds PyQt5, Krita 6 PyQt6. Enumerations are written with their full scope everywhere in
the plugin, which both understand. The binding that is already loaded wins.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["QT_VERSION", "QtCore", "QtGui", "QtNetwork", "QtWidgets", "Signal", "is_deleted"]


def _binding() -> str:
    for name in ("PyQt6", "PyQt5"):
        if f"{name}.QtCore" in sys.modules:
            return name
    try:
        importlib.import_module("PyQt5.QtCore")
    except ImportError:
        return "PyQt6"
    return "PyQt5"


_NAME = _binding()
QtCore: Any = importlib.import_module(f"{_NAME}.QtCore")
QtGui: Any = importlib.import_module(f"{_NAME}.QtGui")
QtNetwork: Any = importlib.import_module(f"{_NAME}.QtNetwork")
QtWidgets: Any = importlib.import_module(f"{_NAME}.QtWidgets")
Signal: Any = QtCore.pyqtSignal
QT_VERSION = int(_NAME[-1])
_sip: Any = importlib.import_module(f"{_NAME}.sip")


def is_deleted(thing: Any) -> bool:
    """Whether Qt has deleted what this wrapper stands for: Krita's widgets go when they like."""
    return bool(_sip.isdeleted(thing))
