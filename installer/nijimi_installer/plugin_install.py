"""A built plugin archive enters; the plugin in Krita's profile, enabled and configured, leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from .errors import CommandFailed
from .settings_file import set_key

__all__ = ["build_archive", "enable_plugin", "unpack_plugin", "write_config"]


def build_archive(python: Path, output: Path) -> None:
    """Make the archive with the backend's own command."""
    output.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(python), "-m", "nijimi_backend", "plugin", "build", "-o", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed("The plugin could not be built.", done.stderr.strip()[-500:])


def unpack_plugin(archive: Path, pykrita: Path) -> None:
    """Replace an older plugin whole; nothing beside it is touched."""
    pykrita.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
        loose = ("nijimi.desktop", "nijimi.action")
        wrong = [n for n in names if n not in loose and not n.startswith("nijimi/")]
        if wrong or any(".." in Path(name).parts for name in names):
            raise CommandFailed("The plugin's archive holds foreign files.", "Build it again.")
        old = pykrita / "nijimi"
        if old.is_symlink():
            # A developer's link to a checkout: what it points to is not ours to replace.
            old.unlink()
        # Whole or not at all: unpacked beside it, then put in its place.
        beside, before = pykrita / ".nijimi-new", pykrita / ".nijimi-old"
        for leftover in (beside, before):
            shutil.rmtree(leftover, ignore_errors=True)
        files.extractall(beside)
        if old.exists():
            old.replace(before)
        (beside / "nijimi").replace(old)
        (beside / "nijimi.desktop").replace(pykrita / "nijimi.desktop")
        if "nijimi.action" in names:
            # Krita looks for them there, and lists them in its shortcut editor.
            actions = pykrita.parent / "actions"
            actions.mkdir(exist_ok=True)
            (beside / "nijimi.action").replace(actions / "nijimi.action")
        palettes = pykrita.parent / "palettes"
        palettes.mkdir(exist_ok=True)
        for palette in sorted((old / "palettes").glob("*.gpl")):
            # From there Krita takes it into its list of palettes.
            shutil.copy2(palette, palettes / palette.name)
        for leftover in (beside, before):
            shutil.rmtree(leftover, ignore_errors=True)


def enable_plugin(kritarc: Path) -> None:
    """Switch the plugin on in Krita's settings; the first time a copy of them is kept."""
    # Byte for byte what it was, but for our line: any encoding, any line ends.
    text = kritarc.read_bytes().decode("utf-8", "surrogateescape") if kritarc.exists() else ""
    changed = set_key(text, "python", "enable_nijimi", "true")
    if changed == text:
        return
    kritarc.parent.mkdir(parents=True, exist_ok=True)
    backup = kritarc.with_name(kritarc.name + ".before-nijimi")
    if text and not backup.exists():
        shutil.copy2(kritarc, backup)
    beside = kritarc.with_name(kritarc.name + ".part")
    beside.write_bytes(changed.encode("utf-8", "surrogateescape"))
    beside.replace(kritarc)


def _own_choices(path: Path) -> dict[str, Any]:
    """What the user wrote into an earlier configuration: a folder of models, a remote backend."""
    try:
        before: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(before, dict):
        return {}
    return {name: before[name] for name in ("models_dir", "remote") if name in before}


def write_config(path: Path, python: Path, *, live: bool, model: str, device: str) -> None:
    """Tell the plugin how to start the backend."""
    command = [str(python), "-m", "nijimi_backend", "serve", "--device", device]
    if model:
        command += ["--model", model]
    config = {
        "format": 1,
        "backend_command": command,
        "models_dir": "",
        "live_on_start": live,
        **_own_choices(path),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
