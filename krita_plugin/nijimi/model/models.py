"""The backend's lists of models enter; what the painter can choose leaves, observable.

Signals:
    changed()  there are others now
"""

from __future__ import annotations

from typing import Any

from nijimi_protocol.messages import Message, ModelEntry, Models, Welcome
from nijimi_protocol.params import RenderParams
from nijimi_protocol.picture_info import lora_names

from ..qt import QtCore, Signal

__all__ = ["KnownModels"]


class KnownModels(QtCore.QObject):
    """Checkpoints, and the adapters and embeddings that prompts can name."""

    changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._entries: tuple[ModelEntry, ...] = ()

    def take(self, event: Message) -> None:
        """Any event of the backend; all but lists of models are passed over."""
        if isinstance(event, (Welcome, Models)) and event.models != self._entries:
            self._entries = event.models
            self.changed.emit()

    def checkpoints(self) -> tuple[ModelEntry, ...]:
        return tuple(entry for entry in self._entries if entry.kind == "checkpoint")

    def chosen(self, name: str) -> ModelEntry | None:
        """The checkpoint of that name; "" is the first, as for the backend."""
        for entry in self.checkpoints():
            if name in ("", entry.name):
                return entry
        return None

    def digests(self, params: RenderParams) -> tuple[str, dict[str, str]]:
        """Hashes of the checkpoint's file and of the LoRAs that the prompt names, where known."""
        model = self.chosen(params.model)
        known = {each.name.lower(): each.digest for each in self._entries if each.kind == "lora"}
        # A prompt may name the folders above, too.
        named = {
            name: known.get(name.replace("\\", "/").rpartition("/")[2].lower(), "")
            for name in lora_names(params.prompt)
        }
        loras = {name: digest for name, digest in named.items() if digest}
        return (model.digest if model is not None else ""), loras

    def adapters(self, name: str) -> tuple[ModelEntry, ...]:
        """What prompts can name for the checkpoint ``name``: LoRAs, embeddings, hypernetworks of
        its family, or of none told."""
        model = self.chosen(name)
        family = model.family if model is not None else ""
        return tuple(
            entry
            for entry in self._entries
            if entry.kind in ("lora", "embedding", "hypernetwork") and entry.family in ("", family)
        )

    def vaes(self) -> tuple[str, ...]:
        """Names of the autoencoders that can take the place of a model's own."""
        return tuple(entry.name for entry in self._entries if entry.kind == "vae")

    def upscalers(self) -> tuple[str, ...]:
        """Names of the networks that enlarge pictures."""
        return tuple(entry.name for entry in self._entries if entry.kind == "upscaler")
