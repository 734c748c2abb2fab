"""The state of the link enters; what the plugin knows of itself, as a text, leaves."""

from __future__ import annotations

import platform

from nijimi_protocol.version import PROTOCOL, VERSION

from ..qt import QtCore
from ..texts import language
from .live_state import LiveState
from .settings import Settings

__all__ = ["own_report"]


def own_report(live_state: LiveState, settings: Settings, krita_version: str) -> str:
    """No prompts and no paths: versions, states, and the choices that are no words of the
    painter's."""
    lines = (
        ("Nijimi's plugin", f"{VERSION}, protocol {PROTOCOL}"),
        ("Krita", krita_version),
        ("Qt", f"{QtCore.qVersion()}, PyQt {QtCore.PYQT_VERSION_STR}"),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("Language", language()),
        ("State", live_state.state),
        ("Device", live_state.device),
        ("A frame", f"{live_state.frame_ms:.0f} ms, {live_state.fps:.1f} a second"),
        ("Shown", settings.get("show_on_canvas")),
        ("Steps", f"{settings.get('num_inference_steps')}, {settings.get('final_steps')} final"),
    )
    return "\n".join(f"{name}: {value}" for name, value in lines if value)
