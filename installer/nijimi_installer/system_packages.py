"""The system enters; missing programs are installed, or the command for it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import CommandFailed, MissingProgram
from .progress import say, stage

__all__ = ["DEBIAN_PACKAGES", "ensure_system_packages", "install_command", "missing_packages"]

DEBIAN_PACKAGES = ("krita", "xvfb", "openbox", "xdotool", "python3-pyqt5")

_EVIDENCE = {
    "krita": "/usr/bin/krita",
    "xvfb": "/usr/bin/Xvfb",
    "openbox": "/usr/bin/openbox",
    "xdotool": "/usr/bin/xdotool",
    "python3-pyqt5": "/usr/lib/python3/dist-packages/PyQt5/QtCore.pyi",
}

_OTHER_COMMANDS = {
    "dnf": "sudo dnf install krita xorg-x11-server-Xvfb openbox xdotool python3-qt5",
    "pacman": "sudo pacman -S krita xorg-server-xvfb openbox xdotool python-pyqt5",
    "zypper": "sudo zypper install krita xorg-x11-server-Xvfb openbox xdotool python3-qt5",
    "brew": "brew install --cask krita",
    "winget": "winget install KDE.Krita",
}


def missing_packages(exists: Callable[[str], bool] = os.path.exists) -> list[str]:
    """Debian packages whose files are not there."""
    missing = [name for name, path in _EVIDENCE.items() if not exists(path)]
    if "python3-pyqt5" in missing and exists("/usr/lib/python3/dist-packages/PyQt5"):
        missing.remove("python3-pyqt5")
    return missing


def install_command(which: Callable[[str], str | None] = shutil.which) -> str:
    """What a user has to type on a system where we do not install by ourselves."""
    for manager, command in _OTHER_COMMANDS.items():
        if which(manager):
            return command
    return f"sudo apt-get install {' '.join(DEBIAN_PACKAGES)}"


def ensure_system_packages(needed: Sequence[str] = DEBIAN_PACKAGES) -> None:
    """Install what is missing with apt; elsewhere say the exact command and stop."""
    if not Path("/usr/bin/apt-get").exists():
        if shutil.which("krita") is None:
            raise MissingProgram("Krita is not installed.", f"Run: {install_command()}")
        return
    missing = [name for name in missing_packages() if name in needed]
    if not missing:
        return
    prefix = _root_prefix()
    if prefix is None:
        raise MissingProgram(
            f"Not installed yet: {', '.join(missing)}.",
            f"Run: sudo apt-get install --no-install-recommends {' '.join(missing)}",
        )
    with stage(f"Installing {', '.join(missing)} (a few minutes)"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
        ):
            done = subprocess.run(
                [*prefix, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and "install" in words:
                say(done.stdout[-2000:] + done.stderr[-2000:])
                raise CommandFailed(
                    "apt-get could not install them.",
                    f"Try by hand: sudo apt-get install {' '.join(missing)}",
                )


def _root_prefix() -> list[str] | None:
    """How to run something as root without asking, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None
