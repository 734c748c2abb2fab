"""The plugin's log records enter; a log file of this Krita leaves."""

from __future__ import annotations

import logging

from nijimi_protocol.logbook import open_logbook
from nijimi_protocol.version import VERSION

__all__ = ["start_logbook"]


def start_logbook() -> None:
    """From now on what the plugin notes goes to a file; Krita's own log is left alone."""
    logger = logging.getLogger(__package__)
    if logger.handlers:
        return
    logger.addHandler(open_logbook("krita"))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.info("Nijimi %s begins", VERSION)
