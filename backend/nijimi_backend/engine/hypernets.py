"""The hypernetworks that a prompt names enter; attention that reads through all of them leaves.

They change what keys and values are made from, and no weight: hooks before those two layers, which
go without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelMissing, NijimiError
from ..models.bundle import ModelBundle
from ..models.hypernetworks import Hypernetwork, read_hypernetwork
from ..models.library import Library
from ..models.recognise import FileKind
from .file_shelf import FileShelf
from .prompt.syntax import AdapterUse

__all__ = ["HypernetRack"]

_MOST_FILES = 4


class HypernetRack:
    """Those that one model's UNet reads through now. Not thread-safe."""

    def __init__(self, bundle: ModelBundle, library: Library | None = None) -> None:
        self._bundle = bundle
        self._library = library
        self._files = FileShelf[Hypernetwork](_MOST_FILES, self._read)
        self._laid: tuple[tuple[Hypernetwork, float], ...] = ()
        self._hooks: list[Any] = []
        self.version = 0
        """Counts changes: what was computed with it before is stale."""

    @property
    def is_empty(self) -> bool:
        return not self._laid

    def use(self, wanted: Sequence[AdapterUse]) -> tuple[NijimiError, ...]:
        """Read through exactly these, in turn; gives why some cannot be, while the rest is."""
        failures: list[NijimiError] = []
        laid: list[tuple[Hypernetwork, float]] = []
        for use in wanted:
            try:
                if use.unet_weight != 0.0:
                    laid.append((self._find(use.name), use.unet_weight))
            except NijimiError as error:
                failures.append(error)
        if tuple(laid) != self._laid:
            self._lay(tuple(laid))
        return tuple(failures)

    def _find(self, name: str) -> Hypernetwork:
        library = self._library
        file = library.find([FileKind.HYPERNETWORK], name) if library is not None else None
        if file is None:
            raise ModelMissing(
                f"There is no hypernetwork named {name!r}.",
                "Convert its .pt file with `nijimi models convert` into the models folder, or take "
                "it out of the prompt.",
            )
        return self._files.get(file.path, f"The hypernetwork {name}")

    def _read(self, path: Path) -> Hypernetwork:
        found = read_hypernetwork(path, self._bundle.device)
        config: Any = self._bundle.unet.config
        width = int(config.get("cross_attention_dim") or 0)
        if width not in found.parts:
            raise ModelMissing(
                f"The hypernetwork {found.name} is for another family than the model "
                f"{self._bundle.info.title}.",
                "Choose one that fits, or another model.",
            )
        return found

    def _lay(self, laid: tuple[tuple[Hypernetwork, float], ...]) -> None:
        self.version += 1
        self._laid = laid
        while self._hooks:
            self._hooks.pop().remove()
        if not laid:
            return
        unet: Any = self._bundle.unet
        for module in unet.modules():
            if not (hasattr(module, "to_k") and hasattr(module, "to_v")):
                continue
            for which, layer in enumerate((module.to_k, module.to_v)):
                width = int(layer.in_features)
                steps = [(net.parts[width][which], scale) for net, scale in laid
                         if width in net.parts]  # fmt: skip
                if steps:
                    self._hooks.append(layer.register_forward_pre_hook(_reading_through(steps)))


def _reading_through(steps: Sequence[tuple[Any, float]]) -> Any:
    def before(_layer: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (read,) = inputs
        for network, scale in steps:
            read = read + network(read) * scale
        return (read,)

    return before
