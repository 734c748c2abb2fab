"""Krita enters as ``krita``; a docker and its live link leave. Without Krita this does nothing."""

from __future__ import annotations

import importlib.util

from .vendoring import use_vendored_packages

use_vendored_packages()

if importlib.util.find_spec("krita") is not None:
    from .canvas.registration import register
    from .contents import Contents
    from .logbook import start_logbook
    from .model.actions import ACTIONS

    start_logbook()
    register(Contents, ACTIONS)
