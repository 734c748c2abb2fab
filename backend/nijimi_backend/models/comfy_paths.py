"""ComfyUI's own folder enters; the further folders that its configuration names leave.

``extra_model_paths.yaml`` holds sections of ``kind: folder`` (several, a line each), relative to
the section's ``base_path``, or to the file where there is none; as ComfyUI's documentation has it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import yaml

__all__ = ["extra_folders"]

log = logging.getLogger(__name__)

_NAME = "extra_model_paths.yaml"

_MOST_BYTES = 256 * 1024

_NO_FOLDERS = ("base_path", "is_default")

_NO_MODELS = ("custom_nodes", "configs")


def extra_folders(comfy: Path) -> tuple[Path, ...]:
    """Those that are there, once each. A file that cannot be read names none, with a word in the
    log: ComfyUI itself is what it is written for."""
    path = comfy / _NAME
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return ()
        value: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        log.warning("%s cannot be read: %s", _NAME, type(error).__name__)
        return ()
    if not isinstance(value, Mapping):
        return ()
    found: dict[Path, None] = {}
    for section in cast("Mapping[object, object]", value).values():
        if isinstance(section, Mapping):
            for folder in _of_section(cast("Mapping[object, object]", section), comfy):
                if folder.is_dir():
                    found[folder] = None
    return tuple(found)


def _of_section(section: Mapping[object, object], comfy: Path) -> Iterator[Path]:
    named = section.get("base_path")
    base = comfy / _expanded(named) if isinstance(named, str) else comfy
    for kind, text in section.items():
        if kind in _NO_FOLDERS or kind in _NO_MODELS or not isinstance(text, str):
            continue
        for line in text.splitlines():
            if line.strip():
                # An absolute path stands for itself.
                yield base / _expanded(line.strip())


def _expanded(text: str) -> str:
    return os.path.expandvars(str(Path(text).expanduser()))
