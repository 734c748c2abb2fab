"""A folder enters; a Krita profile of its own leaves: settings, plugin folder and environment."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KritaProfile"]

_KRITARC = """\
AutoSaveInterval=0
CreateBackupFile=false
FetchNews=false
HideSplashScreen=true
LineSmoothingType=0
sessionOnStartup=0
pasteBehaviour=0
{dock}
[python]
{plugins}
[theme]
Theme=Krita dark
"""

_DISPLAYRC = """\
OpenGLRenderer=none
"""

_SYSTEM_PATH = "/usr/bin:/bin"


@dataclass(frozen=True, kw_only=True)
class KritaProfile:
    """An isolated profile below ``root``: nothing of the user's own Krita is read or written."""

    root: Path

    @property
    def data_dir(self) -> Path:
        return self.root / "data"

    @property
    def config_dir(self) -> Path:
        return self.root / "config"

    @property
    def pykrita_dir(self) -> Path:
        return self.data_dir / "krita" / "pykrita"

    @property
    def nijimi_config(self) -> Path:
        return self.config_dir / "nijimi" / "config.json"

    def write(self, plugins: tuple[str, ...]) -> None:
        """Write settings that keep Krita quiet, with these Python plugins enabled."""
        for folder in ("home", "data", "config", "cache", "runtime"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "runtime").chmod(0o700)
        self.pykrita_dir.mkdir(parents=True, exist_ok=True)
        enabled = "\n".join(f"enable_{name}=true" for name in plugins)
        text = _KRITARC.format(plugins=enabled, dock="")
        (self.config_dir / "kritarc").write_text(text, encoding="utf-8")
        (self.config_dir / "kritadisplayrc").write_text(_DISPLAYRC, encoding="utf-8")

    def install_plugin(self, package: Path, desktop_file: Path) -> None:
        """Copy a plugin's package and its .desktop file into the profile."""
        target = self.pykrita_dir / package.name
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(desktop_file, self.pykrita_dir / desktop_file.name)

    def environment(self, display: str, **extra: str) -> dict[str, str]:
        """What Krita must be started with.

        PATH holds the system's folders only: Krita's embedded Python looks for its prefix at the
        first python3 there, and a virtual environment's has no PyQt5.
        """
        unwanted = (
            "QT_",
            "PYTHON",
            "VIRTUAL_ENV",
            "LD_",
            "XDG_",
            "PYENV",
            "CONDA",
            "NIJIMI_",
            "LANG",
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        return {
            **kept,
            "DISPLAY": display,
            "PATH": _SYSTEM_PATH,
            "HOME": str(self.root / "home"),
            "XDG_CONFIG_HOME": str(self.config_dir),
            "XDG_DATA_HOME": str(self.data_dir),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "XDG_RUNTIME_DIR": str(self.root / "runtime"),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_SCALE_FACTOR": "1",
            "LC_ALL": "C.UTF-8",
            **extra,
        }
