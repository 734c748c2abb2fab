"""The painter's folders enter; every model and adapter found in them leaves, known by its content.

Besides our own folder those of ComfyUI and of A1111's and Forge's web UIs are read, found in their
usual places or named; they are never written to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelMissing, NijimiError
from .apart import apart, beside_sd3
from .catalog import EMBEDDED_DIR, ModelInfo, default_models_dir, describe_file, describe_folder
from .comfy_paths import extra_folders
from .headers import WeightsHeader, read_header
from .recognise import FileKind, Recognised, recognise

__all__ = ["Library", "LibraryFile", "open_library"]

log = logging.getLogger(__name__)

_DEPTH = 5
"""Folders within folders that are looked at; what lies deeper is no collection of models."""

_USUAL = ("ComfyUI", "Documents/ComfyUI", "stable-diffusion-webui", "stable-diffusion-webui-forge")
"""Where the others keep theirs, below the home folder."""

_FOLDER_MARKS = ("model_index.json", "config.json", "tokenizer_config.json")

_PAINTABLE = ("sd1", "sd2", "sdxl", "sd3")


@dataclass(frozen=True, kw_only=True)
class LibraryFile:
    """One file of weights. ``trouble``: why it cannot be used, in a sentence; "" where it can."""

    path: Path
    found: Recognised
    size_bytes: int
    trouble: str = ""
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem


def own_folder(library: Library | None) -> Path:
    """Where a painter is told to put files: the first root."""
    return library.roots[0] if library is not None and library.roots else default_models_dir()


class Library:
    """Looks again whenever a folder has changed; headers are read once a file and its date."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._headers: dict[tuple[Path, int, int], LibraryFile] = {}
        self._files: tuple[LibraryFile, ...] = ()
        self._models: tuple[ModelInfo, ...] = ()
        self._parts: tuple[Path, ...] = ()
        self._dates: dict[Path, int] = {}
        self._looks = 0

    def changed(self) -> bool:
        """Whether anything came or went since the last look; costs a stat for each folder."""
        return self._looks == 0 or any(
            _date(folder) != date for folder, date in self._dates.items()
        )

    @property
    def version(self) -> int:
        """Another number after every change."""
        self._look()
        return self._looks

    def part_folders(self) -> tuple[Path, ...]:
        """Folders of single networks in diffusers' layout, such as ControlNets, and of
        tokenizers."""
        self._look()
        return self._parts

    def files(self) -> tuple[LibraryFile, ...]:
        """Every file of weights that stands for itself, by root and then by name."""
        self._look()
        return self._files

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model that one can paint with, the embedded ones first."""
        self._look()
        return self._models

    def find_model(self, name: str) -> ModelInfo:
        """The model of that name or at that path; "" means the first there is."""
        if name and Path(name).is_absolute():
            return self._at(Path(name))
        models = self.models()
        for model in models:
            if name in ("", model.name):
                return model
        folder = own_folder(self)
        for file in self.files():
            if file.name == name:
                if file.found.kind is FileKind.TRANSFORMER and not file.trouble:
                    raise ModelMissing(
                        f"{name} is only the network of {file.found.family or 'a model'}, without "
                        "its text encoder and autoencoder.",
                        f"Put the whole model, as one file or a folder, into {folder}.",
                    )
                raise ModelMissing(
                    file.trouble or f"{name} is a {file.found.kind.value}, no checkpoint.",
                    "Choose another model.",
                )
        if not models:
            raise ModelMissing(
                "There is no model on this machine.",
                f"Reinstall Nijimi, or put a model into {folder}.",
            )
        known = ", ".join(model.name for model in models)
        raise ModelMissing(f"There is no model named {name!r}.", f"Choose one of: {known}.")

    def find(self, kinds: Sequence[FileKind], name: str) -> LibraryFile | None:
        """The first file of one of these kinds by that name, as prompts name it: without its
        ending, in any case of letters, with or without the folders above it."""
        wanted = name.replace("\\", "/").lower().removesuffix(".safetensors")
        for file in self.files():
            if file.found.kind not in kinds:
                continue
            whole = file.path.with_suffix("").as_posix().lower()
            if file.name.lower() == wanted or ("/" in wanted and whole.endswith("/" + wanted)):
                return file
        return None

    def _at(self, path: Path) -> ModelInfo:
        if (path / "model_index.json").is_file():
            return describe_folder(path)
        if path.suffix == ".safetensors" and path.is_file():
            file = self._file(path)
            if file.trouble or file.found.family not in _PAINTABLE:
                raise ModelMissing(
                    file.trouble or f"{path.name} is no checkpoint that Nijimi can paint with.",
                    "Choose a checkpoint for SD 1.x, SD 2.x, SDXL or SD3.",
                )
            return describe_file(path, file.found, file.size_bytes)
        raise ModelMissing(f"There is no model at {path}.", "Name a folder or a .safetensors file.")

    def _look(self) -> None:
        if not self.changed():
            return
        dates: dict[Path, int] = {}
        files: list[LibraryFile] = []
        parts: list[Path] = []
        models = [describe_folder(path, embedded=True) for path in _model_folders(EMBEDDED_DIR)]
        seen = {model.name for model in models}
        for root in self.roots:
            dates[root] = _date(root)
            for path in _walk(root, dates):
                if path.is_dir() and not (path / "model_index.json").is_file():
                    parts.append(path)
                    continue
                if path.is_dir():
                    model = describe_folder(path)
                else:
                    file = self._file(path)
                    files.append(file)
                    is_one = file.found.kind is FileKind.CHECKPOINT and not file.trouble
                    if not is_one or file.found.family not in _PAINTABLE:
                        continue
                    model = describe_file(path, file.found, file.size_bytes)
                if model.name not in seen:
                    # The first of a name counts: our own folder comes before the others'.
                    seen.add(model.name)
                    models.append(model)
        models += [model for model in apart(files, parts) if model.name not in seen]
        of_sd3 = tuple(beside_sd3(files, parts).items())
        models = [
            replace(model, beside=of_sd3) if model.is_file and model.family == "sd3" else model
            for model in models
        ]
        self._dates, self._files, self._models = dates, tuple(files), tuple(models)
        self._parts = tuple(parts)
        self._looks += 1

    def _file(self, path: Path) -> LibraryFile:
        try:
            stat = path.stat()
        except OSError as error:
            return LibraryFile(
                path=path, found=Recognised(kind=FileKind.UNKNOWN), size_bytes=0,
                trouble=f"{path.name} cannot be read ({error.strerror}).",
            )  # fmt: skip
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._headers:
            self._headers[key] = _described(path, stat.st_size)
        return self._headers[key]


def open_library(
    models_dir: Path | None = None, more: Sequence[Path] = (), home: Path | None = None
) -> Library:
    """Our own folder, then those named in ``more`` or NIJIMI_MODEL_FOLDERS, then those found."""
    named = [Path(text) for text in os.environ.get("NIJIMI_MODEL_FOLDERS", "").split(os.pathsep)
             if text]  # fmt: skip
    base = home if home is not None else Path.home()
    usual = [base / name for name in _USUAL]
    roots = [models_dir or default_models_dir()]
    for folder in (*more, *named, *usual):
        roots += [each for each in _collections(folder) if each.is_dir() and each not in roots]
    return Library(roots)


def _collections(folder: Path) -> tuple[Path, ...]:
    """The folders of models within another program's own folder, or the folder itself."""
    if (folder / "models").is_dir():
        return (folder / "models", folder / "embeddings", *extra_folders(folder))
    return (folder,)


def _walk(folder: Path, dates: dict[Path, int], depth: int = _DEPTH) -> Iterator[Path]:
    """Folders of networks and files of weights; notes the date of each folder that was read."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any((path / name).is_file() for name in _FOLDER_MARKS):
                yield path
            elif depth > 1:
                dates[path] = _date(path)
                yield from _walk(path, dates, depth - 1)
        elif path.suffix == ".safetensors":
            yield path


def _model_folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / "model_index.json").is_file())


def _described(path: Path, size: int) -> LibraryFile:
    try:
        header: WeightsHeader = read_header(path)
    except NijimiError as error:
        log.warning("%s", error)
        return LibraryFile(
            path=path, found=Recognised(kind=FileKind.UNKNOWN), size_bytes=size,
            trouble=str(error),
        )  # fmt: skip
    return LibraryFile(
        path=path,
        found=recognise(header),
        size_bytes=size,
        metadata=tuple(header.metadata.items()),
    )


def _date(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
