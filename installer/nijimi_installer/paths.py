"""A system's name and its environment enter; where things lie on that system leaves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

__all__ = ["KritaPaths", "krita_paths", "repository_root", "venv_python"]


@dataclass(frozen=True, kw_only=True)
class KritaPaths:
    """Krita's own folders for one user, our configuration file, and where Krita may be."""

    pykrita: PurePath
    kritarc: PurePath
    nijimi_config: PurePath
    executables: tuple[PurePath, ...]


def repository_root() -> Path:
    """The checkout that this installer lies in."""
    return Path(__file__).resolve().parents[2]


def venv_python(venv: PurePath, system: str) -> PurePath:
    """The interpreter of a virtual environment."""
    if system == "Windows":
        return venv / "Scripts" / "python.exe"
    return venv / "bin" / "python"


def krita_paths(system: str, environment: Mapping[str, str], home: str) -> KritaPaths:
    """Paths as ``platform.system()`` names systems: Linux, Darwin or Windows."""
    if system == "Windows":
        base = PureWindowsPath(home)
        roaming = PureWindowsPath(environment.get("APPDATA") or base / "AppData" / "Roaming")
        local = PureWindowsPath(environment.get("LOCALAPPDATA") or base / "AppData" / "Local")
        programs = PureWindowsPath(environment.get("ProgramFiles") or r"C:\Program Files")
        return KritaPaths(
            pykrita=roaming / "krita" / "pykrita",
            kritarc=local / "kritarc",
            nijimi_config=roaming / "nijimi" / "config.json",
            executables=(programs / "Krita (x64)" / "bin" / "krita.exe",),
        )
    base = PurePosixPath(home)
    if system == "Darwin":
        support = base / "Library" / "Application Support"
        return KritaPaths(
            pykrita=support / "krita" / "pykrita",
            kritarc=base / "Library" / "Preferences" / "kritarc",
            nijimi_config=support / "nijimi" / "config.json",
            executables=(PurePosixPath("/Applications/krita.app/Contents/MacOS/krita"),),
        )
    data = PurePosixPath(environment.get("XDG_DATA_HOME") or base / ".local" / "share")
    config = PurePosixPath(environment.get("XDG_CONFIG_HOME") or base / ".config")
    return KritaPaths(
        pykrita=data / "krita" / "pykrita",
        kritarc=config / "kritarc",
        nijimi_config=config / "nijimi" / "config.json",
        executables=(PurePosixPath("/usr/bin/krita"), PurePosixPath("/usr/local/bin/krita")),
    )
