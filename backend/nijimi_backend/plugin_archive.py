"""The plugin's source enters; the archive that Krita's own importer takes leaves.

Tools, Scripts, Import Python Plugin from File wants a zip with ``nijimi.desktop`` and the package
beside it. Inside the package travels what Krita's Python lacks: our protocol in ``vendor``, which
goes on the path, and the sans-IO core of ``websockets`` in ``third_party``, which does not: another
plugin's ``import websockets`` must never find ours. On request the backend's source travels in
``backend_source``, from which the plugin's guide installs it.
"""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nijimi_protocol
import websockets

from .errors import BadInput, InternalError

__all__ = ["BACKEND_PARTS", "backend_files", "build_archive", "plugin_files", "plugin_source"]

_WEBSOCKETS_MODULES = (
    "__init__", "client", "datastructures", "exceptions", "frames", "headers", "http11",
    "imports", "protocol", "streams", "typing", "uri", "utils", "version",
    "extensions/__init__", "extensions/base",
)  # fmt: skip

_MASKING = "speedups.*.so"
"""What a client sends is masked (RFC 6455, 5.3): 160 KiB take 0.5 ms in Python, on Krita's thread,
and next to nothing by this. It is for the Python that builds the archive; any other one passes over
it by its name. None for Windows (``.pyd``): there what Krita has loaded cannot be deleted, and its
importer deletes a plugin before it copies the new one."""

BACKEND_PARTS = (
    "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
    "backend", "shared_protocol", "installer",
)  # fmt: skip
"""What the installer makes a backend of."""

_LEFT_OUT = {"__pycache__", "build"}

_TIMESTAMP = (2026, 1, 1, 0, 0, 0)
"""One for all files: the same source gives the same archive."""


_SUFFIXES = (".py", ".html", ".png", ".json", ".gpl")


def plugin_source() -> Path:
    """The folder ``krita_plugin`` of the source tree that this backend runs from."""
    folder = Path(__file__).resolve().parents[2] / "krita_plugin"
    if not (folder / "nijimi.desktop").is_file():
        raise BadInput(
            "The plugin's source is not beside this backend.",
            "Run this from a checkout of Nijimi.",
        )
    return folder


def plugin_files() -> Iterator[tuple[str, bytes]]:
    """Every file of the archive: its name, with forward slashes, and its content."""
    source = plugin_source()
    for name in ("nijimi.desktop", "nijimi.action"):
        yield name, (source / name).read_bytes()
    for path in sorted((source / "nijimi").rglob("*")):
        if path.is_file() and path.suffix in _SUFFIXES:
            yield path.relative_to(source).as_posix(), path.read_bytes()
    protocol = Path(nijimi_protocol.__file__).parent
    for path in sorted(protocol.glob("*.py")):
        yield f"nijimi/vendor/nijimi_protocol/{path.name}", path.read_bytes()
    library = Path(websockets.__file__).parent
    for name in _WEBSOCKETS_MODULES:
        yield f"nijimi/third_party/websockets/{name}.py", (library / f"{name}.py").read_bytes()
    for path in sorted(library.glob(_MASKING)):
        yield f"nijimi/third_party/websockets/{path.name}", path.read_bytes()
    yield "nijimi/third_party/websockets/LICENSE", _licence()


def backend_files() -> Iterator[tuple[str, Path]]:
    """The backend's source as it lies in an archive that can install it; some 46 MB."""
    root = plugin_source().parent
    for part in BACKEND_PARTS:
        paths = sorted((root / part).rglob("*")) if (root / part).is_dir() else [root / part]
        for path in paths:
            relative = path.relative_to(root)
            is_ours = not _LEFT_OUT & set(relative.parts) and ".egg-info" not in str(relative)
            if path.is_file() and is_ours:
                yield f"nijimi/backend_source/{relative.as_posix()}", path


def build_archive(output: Path, *, with_backend: bool = False) -> None:
    """Write the archive, whole or not at all."""
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise BadInput(f"{output} cannot be written.", "Name a file in a folder that exists.")
    beside = output.with_name(output.name + ".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        # Krita's importer looks for this entry: without it no plugin is found in the archive.
        archive.writestr(zipfile.ZipInfo("nijimi/", _TIMESTAMP), b"")
        for name, content in plugin_files():
            _add(archive, name, content)
        if with_backend:
            for name, path in backend_files():
                _add(archive, name, path.read_bytes())
    beside.replace(output)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _licence() -> bytes:
    for file in importlib.metadata.files("websockets") or []:
        if file.name == "LICENSE":
            return file.read_binary()
    raise InternalError("The licence of websockets is not installed with it.", "Reinstall it.")
