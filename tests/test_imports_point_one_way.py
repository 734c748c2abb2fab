"""Imports point one way, and every module says what enters and what leaves."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = ROOT / "shared_protocol" / "nijimi_protocol"
BACKEND = ROOT / "backend" / "nijimi_backend"
PLUGIN = ROOT / "krita_plugin" / "nijimi"
INSTALLER = ROOT / "installer" / "nijimi_installer"
ALL = sorted(
    path
    for room in (PROTOCOL, BACKEND, PLUGIN, INSTALLER)
    for path in room.rglob("*.py")
    if "driver" not in path.parts and "vendor" not in path.parts
)

BACKEND_ORDER = ["errors", "models", "engine", "session", "access", "server"]
"""Each may import those before it, never those after."""

PLUGIN_ALLOWED = {
    "qt": set(),
    "texts": {"qt"},
    "vendoring": set(),
    "model": {"qt", "texts", "model"},
    "ui": {"qt", "texts", "model", "ui"},
    "link": {"qt", "texts", "link"},
    "canvas": {"qt", "texts", "canvas"},
    "live": {
        "qt",
        "texts",
        "model",
        "link",
        "canvas.room",
        "canvas.tile_scan",
        "canvas.layer_pixels",
        "live",
    },
    "flow": {"qt", "texts", "model", "link", "live", "canvas.room"},
    "set_up": {"qt", "texts", "link", "model", "ui"},
    "contents": {"canvas.room", "flow", "link", "model", "set_up", "ui"},
    "logbook": set(),
    "__init__": {"vendoring", "canvas.registration", "contents", "logbook", "model"},
}


def _imports(path: Path, package: Path) -> Iterator[str]:
    """Absolute names of what a module imports; relative ones are resolved within its package."""
    relative = path.relative_to(package.parent).with_suffix("")
    parts = list(relative.parts)
    if parts[-1] == "__init__":
        parts.pop()
        here = parts
    else:
        here = parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            name = ".".join([*base, *(node.module.split(".") if node.module else [])])
            if node.module is None or (node.level and not node.module):
                for alias in node.names:
                    yield f"{name}.{alias.name}"
            else:
                yield name


def _modules(package: Path) -> list[Path]:
    return [path for path in ALL if package in path.parents]


@pytest.mark.parametrize("path", _modules(PROTOCOL), ids=lambda p: p.name)
def test_the_protocol_imports_the_standard_library_only(path: Path) -> None:
    for name in _imports(path, PROTOCOL):
        first = name.split(".")[0]
        assert first == "nijimi_protocol" or first in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", _modules(BACKEND), ids=lambda p: str(p.relative_to(BACKEND)))
def test_the_backend_imports_only_what_lies_before_it(path: Path) -> None:
    room = path.relative_to(BACKEND).with_suffix("").parts[0]
    for name in _imports(path, BACKEND):
        assert name.split(".")[0] not in ("nijimi", "krita", "nijimi_installer"), name
        if not name.startswith("nijimi_backend.") or room not in BACKEND_ORDER:
            continue
        target = name.split(".")[1]
        assert target in BACKEND_ORDER, name
        assert BACKEND_ORDER.index(target) <= BACKEND_ORDER.index(room), name


@pytest.mark.parametrize("path", _modules(PLUGIN), ids=lambda p: str(p.relative_to(PLUGIN)))
def test_the_plugin_imports_only_what_its_room_may(path: Path) -> None:
    room = path.relative_to(PLUGIN).with_suffix("").parts[0]
    foreign = {"nijimi_protocol", "websockets", "nijimi"} | (
        {"krita"} if room == "canvas" else set()
    )
    for name in _imports(path, PLUGIN):
        first = name.split(".")[0]
        assert first in foreign or first in sys.stdlib_module_names, name
        if name.startswith("nijimi."):
            target = name.removeprefix("nijimi.")
            allowed = PLUGIN_ALLOWED[room]
            assert target in allowed or target.split(".")[0] in allowed, f"{room} imports {target}"


@pytest.mark.parametrize("path", _modules(INSTALLER), ids=lambda p: str(p.relative_to(INSTALLER)))
def test_the_installer_imports_the_standard_library_only(path: Path) -> None:
    for name in _imports(path, INSTALLER):
        first = name.split(".")[0]
        assert first == "nijimi_installer" or first in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", [*_modules(PROTOCOL), *_modules(PLUGIN)], ids=lambda p: p.name)
def test_what_runs_inside_krita_is_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].rstrip().endswith((".", ":", ";", ","))
    assert len(text.splitlines()) <= 400
