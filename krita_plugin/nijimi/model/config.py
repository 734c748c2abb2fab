"""The installer's configuration file enters; how to start the backend leaves."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Config", "config_path", "read_config", "user_config_dir"]


@dataclass(frozen=True)
class Config:
    """``backend_command`` is empty when the installer has not run."""

    backend_command: tuple[str, ...] = ()
    models_dir: str = ""
    live_on_start: bool = False


def user_config_dir() -> Path:
    """Where this user's programs keep their settings."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", str(Path.home() / "AppData" / "Roaming")))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def config_path() -> Path:
    """The file that the installer writes; NIJIMI_CONFIG names another one."""
    named = os.environ.get("NIJIMI_CONFIG")
    return Path(named) if named else user_config_dir() / "nijimi" / "config.json"


def read_config() -> Config:
    """The configuration; what is missing or unreadable has its default."""
    try:
        value: Any = json.loads(config_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Config()
    if not isinstance(value, dict):
        return Config()
    command = value.get("backend_command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        command = []
    return Config(
        backend_command=tuple(command),
        models_dir=str(value.get("models_dir", "")),
        live_on_start=value.get("live_on_start") is True,
    )
