"""The adapters that a prompt names enter; the model's weights with all of them laid on leave.

Adapters are laid into the weights, so that a step costs what it costs without them. The weights
that any of them touches are kept as they were, and each change starts from there: nothing drifts,
however often a slider moves. Tensors are written in place: nothing is compiled or captured anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import ModelMissing, NijimiError
from ..models.bundle import ModelBundle
from ..models.library import Library
from ..models.lora_files import Lora, adapted_networks, changed_weight, read_lora
from ..models.recognise import FileKind
from .file_shelf import FileShelf
from .prompt.syntax import AdapterUse

__all__ = ["AdapterRack"]

_MOST_FILES = 12
"""So many adapters' factors stay in memory; the one unused the longest goes first."""

_Laid = tuple[tuple[Lora, float], ...]


class AdapterRack:
    """What is laid on one model's weights now. Not thread-safe."""

    def __init__(self, bundle: ModelBundle, library: Library | None = None) -> None:
        self._bundle = bundle
        self._library = library
        self._files = FileShelf[Lora](_MOST_FILES, lambda path: read_lora(path, bundle))
        self._laid: dict[str, _Laid] = {}
        self._originals: dict[tuple[str, str], torch.Tensor] = {}
        self._parameters: dict[str, Mapping[str, torch.nn.Parameter]] = {}
        self.versions: dict[str, int] = {}
        """Counts each network's changes: what was computed with it before is stale."""

    @property
    def text_version(self) -> int:
        return sum(count for name, count in self.versions.items() if name != "unet")

    @property
    def is_empty(self) -> bool:
        return not any(self._laid.values())

    def use(self, wanted: Sequence[AdapterUse]) -> tuple[NijimiError, ...]:
        """Lay on exactly these; gives why some cannot be, while the rest is."""
        failures: list[NijimiError] = []
        found: list[tuple[Lora, AdapterUse]] = []
        for use in wanted:
            try:
                found.append((self._load(use.name), use))
            except NijimiError as error:
                failures.append(error)
        for name, network in adapted_networks(self._bundle).items():
            laid: _Laid = tuple(
                (lora, weight)
                for lora, use in found
                if (weight := use.unet_weight if name == "unet" else use.te_weight) != 0.0
                and any(target == name for target, _ in lora.changes)
            )
            if laid != self._laid.get(name, ()):
                self._lay(name, network, laid)
        return tuple(failures)

    def _load(self, name: str) -> Lora:
        file = self._library.find([FileKind.LORA], name) if self._library is not None else None
        if file is None:
            raise ModelMissing(
                f"There is no LoRA named {name!r}.",
                "Put its file into the models folder, or take it out of the prompt.",
            )
        family = self._bundle.info.family
        if file.found.family and family != "mini" and file.found.family != family:
            raise ModelMissing(
                f"The LoRA {name} is for {file.found.family}, not for the model "
                f"{self._bundle.info.title} ({family}).",
                "Choose one that fits, or another model.",
            )
        return self._files.get(file.path, f"The LoRA {name}")

    def _lay(self, name: str, network: torch.nn.Module, laid: _Laid) -> None:
        before = self._laid.get(name, ())
        touched = {key for lora, _ in (*before, *laid) for target, key in lora.changes
                   if target == name}  # fmt: skip
        own = self._parameters.setdefault(name, dict(network.named_parameters()))
        # Marked first: if memory ends within, the next frame lays everything on anew.
        self._laid[name] = ()
        self.versions[name] = self.versions.get(name, 0) + 1
        try:
            for key in touched:
                self._write(name, key, own.get(key), laid)
        except (RuntimeError, MemoryError):
            self._restore(name, own)
            raise
        self._laid[name] = laid

    def _write(
        self, network: str, key: str, parameter: torch.nn.Parameter | None, laid: _Laid
    ) -> None:
        if parameter is None:
            return
        target: Any = parameter.data
        original = self._originals.get((network, key))
        if original is None:
            original = target.to("cpu", copy=True)
            self._originals[network, key] = original
        weight = original.to(target.device, torch.float32)
        for lora, strength in laid:
            if (change := lora.changes.get((network, key))) is not None:
                weight = changed_weight(weight, change, strength)
        target.copy_(weight)

    def _restore(self, network: str, own: Mapping[str, torch.nn.Parameter]) -> None:
        for (name, key), original in self._originals.items():
            if name == network:
                own[key].data.copy_(original)
