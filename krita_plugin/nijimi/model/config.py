"""The installer's configuration file enters; how to start or reach a backend leaves."""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..texts import tr
from .whole_file import write_whole

__all__ = [
    "FORMAT",
    "Config",
    "Remote",
    "change_config",
    "config_path",
    "read_config",
    "user_config_dir",
]

FORMAT = 1
"""Of the configuration; a newer one is left alone and said to be so."""

_NEWER = (
    "Nijimi's configuration was written by a newer version.",
    "Update the plugin: python3 installer run",
)


@dataclass(frozen=True)
class Remote:
    """A backend on another machine, over TLS. ``ca_file``: who vouches for it, "" for the system's
    own authorities."""

    host: str
    port: int
    token_file: str
    ca_file: str = ""


@dataclass(frozen=True)
class Config:
    """``backend_command`` is empty when nothing is installed. ``models_from``: folders of other
    programs, only read. ``model_memory_gib``: what a model's networks may take; None for all there
    is. ``eight_bit``: products of eight bits, where that is quicker. ``problem``: a sentence and
    what to do, where the file says something that cannot be."""

    backend_command: tuple[str, ...] = ()
    models_dir: str = ""
    models_from: tuple[str, ...] = ()
    model_memory_gib: float | None = None
    eight_bit: bool = False
    live_on_start: bool = False
    remote: Remote | None = None
    problem: tuple[str, str] | None = None

    @property
    def serving_command(self) -> list[str]:
        """What starts a backend of our own; [] where none is installed."""
        return [*self.backend_command, *self.backend_options] if self.backend_command else []

    @property
    def folder_options(self) -> list[str]:
        """Where any command of the backend finds models."""
        options = ["--models-dir", self.models_dir] if self.models_dir else []
        for folder in self.models_from:
            options += ["--models-from", folder]
        return options

    @property
    def backend_options(self) -> list[str]:
        """What a backend of our own is started with."""
        options = self.folder_options
        if self.model_memory_gib is not None:
            options += ["--model-memory-gib", str(self.model_memory_gib)]
        return [*options, "--eight-bit"] if self.eight_bit else options


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
    written = value.get("format", FORMAT)
    if not isinstance(written, int) or written > FORMAT:
        return Config(problem=(tr(_NEWER[0]), tr(_NEWER[1])))
    command = value.get("backend_command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        command = []
    folders = value.get("models_from", [])
    config = Config(
        backend_command=tuple(command),
        models_dir=str(value.get("models_dir", "")),
        models_from=tuple(map(str, folders)) if isinstance(folders, list) else (),
        model_memory_gib=_positive(value.get("model_memory_gib")),
        eight_bit=value.get("eight_bit") is True,
        live_on_start=value.get("live_on_start") is True,
    )
    if value.get("remote") is None:
        return config
    try:
        return replace(config, remote=_remote(value["remote"]))
    except (ValueError, KeyError, TypeError) as error:
        return Config(
            problem=(
                tr(
                    "The remote backend in {path} makes no sense ({error}).",
                    path=config_path(),
                    error=error,
                ),
                tr("It needs url (wss://name:port/nijimi) and token_file; see docs/remote.md."),
            )
        )


def change_config(**values: Any) -> None:
    """Write some values into the file, whole or not at all; the others stay. Raises ``OSError``.

    A file of a newer version, or one that cannot be read, is kept beside as ``.before``.
    """
    path = config_path()
    before: Any = None
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    try:
        before = json.loads(text)
    except ValueError:
        before = None
    is_ours = isinstance(before, dict) and before.get("format", FORMAT) == FORMAT
    if text and not is_ours:
        path.with_name(path.name + ".before").write_text(text, encoding="utf-8")
    after = {**(before if is_ours else {}), "format": FORMAT, **values}
    write_whole(path, json.dumps(after, indent=1) + "\n")


def _positive(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None


def _remote(value: Any) -> Remote:
    url = urllib.parse.urlsplit(str(value["url"]))
    if url.scheme != "wss" or not url.hostname or url.port is None:
        raise ValueError("the url must begin with wss:// and have a port")
    return Remote(
        host=url.hostname,
        port=url.port,
        token_file=str(value["token_file"]),
        ca_file=str(value.get("ca_file", "")),
    )
