"""Krita's windows enter; the objects of the plugin that runs there leave."""

from krita import Krita

try:
    from PyQt5.QtWidgets import QWidget
except ImportError:
    from PyQt6.QtWidgets import QWidget


def contents():
    """The plugin's own objects: settings, live_state, connection, flow, panel."""
    for window in Krita.instance().windows():
        for widget in window.qwindow().findChildren(QWidget):
            found = widget.property("nijimi_contents")
            if found is not None:
                return found
    raise LookupError("Nijimi's docker is not there: is the plugin enabled?")
