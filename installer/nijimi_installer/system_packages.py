"""The system enters; missing programs are installed, or the command for it is told."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import CommandFailed, MissingProgram
from .progress import say, stage

__all__ = [
    "DEBIAN_PACKAGES",
    "ensure_system_packages",
    "install_command",
    "missing_packages",
    "progress_of",
]

DEBIAN_PACKAGES = ("krita", "xvfb", "openbox", "xdotool", "python3-pyqt5")

_EVIDENCE = {
    "krita": "/usr/bin/krita",
    "xvfb": "/usr/bin/Xvfb",
    "openbox": "/usr/bin/openbox",
    "xdotool": "/usr/bin/xdotool",
    "python3-pyqt5": "/usr/lib/python3/dist-packages/PyQt5/QtCore.pyi",
}

_PROGRAMS = {"krita": "krita", "xvfb": "Xvfb", "openbox": "openbox", "xdotool": "xdotool"}

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


def install_command(which: Callable[[str], str | None] | None = None) -> str:
    """What a user has to type on a system where we do not install by ourselves."""
    for manager, command in _OTHER_COMMANDS.items():
        if (which or shutil.which)(manager):
            return command
    return f"sudo apt-get install {' '.join(DEBIAN_PACKAGES)}"


def ensure_system_packages(needed: Sequence[str] = DEBIAN_PACKAGES) -> None:
    """Install what is missing with apt; elsewhere say the exact command and stop."""
    if not Path("/usr/bin/apt-get").exists():
        _check_programs(needed)
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
        # A list that cannot be refreshed may still be good enough.
        _apt([*prefix, "apt-get", "update", "-q"], environment)
        words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        code, tail = _apt([*prefix, *words], environment)
        if code:
            say("\n".join(tail))
            raise CommandFailed(
                "apt-get could not install them.",
                f"Try by hand: sudo apt-get install {' '.join(missing)}",
            )


def progress_of(line: str) -> tuple[int, str] | None:
    """Percent and words of one of apt's status lines, or None for any other line.

    They read ``dlstatus:1:12.5:Retrieving file`` and ``pmstatus:krita:40.0:Unpacking krita``
    (apt's README.progress-reporting).
    """
    parts = line.split(":", 3)
    if len(parts) != 4 or parts[0] not in ("dlstatus", "pmstatus"):
        return None
    try:
        return int(float(parts[2])), parts[3].strip()
    except ValueError:
        return None


def _apt(command: Sequence[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run apt; say how far it is at every tenth. Exit status and the last lines come back."""
    process = subprocess.Popen(
        [*command, "-o", "APT::Status-Fd=1"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    tail: deque[str] = deque(maxlen=25)
    told = ""
    try:
        for line in process.stdout or ():
            progress = progress_of(line)
            if progress is None:
                tail.append(line.rstrip())
            elif (step := f"{line[:2]}{progress[0] // 10}") != told:
                told = step
                say(f"    {progress[0]:3d} %  {progress[1]}")
        return process.wait(), list(tail)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _check_programs(needed: Sequence[str]) -> None:
    """Without apt nothing is installed by us: say what is missing, and the command for it."""
    missing = [
        name for name in needed if name in _PROGRAMS and shutil.which(_PROGRAMS[name]) is None
    ]
    if missing and not (missing == ["krita"] and platform.system() != "Linux"):
        verb = "is" if len(missing) == 1 else "are"
        raise MissingProgram(
            f"{' and '.join(missing)} {verb} not installed.", f"Run: {install_command()}"
        )


def _root_prefix() -> list[str] | None:
    """How to run something as root without asking, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None
