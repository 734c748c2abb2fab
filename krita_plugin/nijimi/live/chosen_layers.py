"""The painter's choice of a layer enters; the mask or the context that it stands for leaves."""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Bounds

from ..canvas.room import CanvasRoom, ChosenNode, SelectionMask
from ..model.settings import AREA_LAYER, AREA_WHOLE, Settings

__all__ = ["ChosenLayers"]


class ChosenLayers:
    """For each document the layer that is its mask, and the one that is its context.

    A layer is chosen by being active at that moment; it stays chosen while the painter goes on
    elsewhere.
    """

    def __init__(self, room: CanvasRoom, settings: Settings) -> None:
        self._room = room
        self._settings = settings
        self._masks: dict[str, ChosenNode] = {}
        self._contexts: dict[str, ChosenNode] = {}

    def choose_mask(self, document: Any) -> None:
        self._choose(self._masks, document)

    def choose_context(self, document: Any) -> None:
        self._choose(self._contexts, document)

    def relink(self, gone_id: str, there_id: str) -> None:
        """One layer stands for another now."""
        for kept in (self._masks, self._contexts):
            for document, node in kept.items():
                if node.id == gone_id:
                    kept[document] = node._replace(id=there_id)

    def mask_name(self, document: Any) -> str:
        """The name of the layer that is the mask, "" where none is chosen."""
        return self._name(self._masks, document)

    def context_name(self, document: Any) -> str:
        return self._name(self._contexts, document)

    def mask(self, document: Any) -> SelectionMask | None:
        """Where something new is wanted, by what the docker says; None stands for everywhere."""
        area = self._settings.get("area")
        if area == AREA_WHOLE:
            return None
        if area != AREA_LAYER:
            return self._room.selection_mask(document)
        chosen = self._masks.get(self._room.document_id(document))
        return self._room.node_mask(document, chosen.id) if chosen is not None else None

    def context(self, document: Any | None) -> Bounds | None:
        """What the model is to see around the selection; None leaves it to the rule."""
        if document is None or not self._settings.get("inpaint_context_layer"):
            return None
        chosen = self._contexts.get(self._room.document_id(document))
        return self._room.node_bounds(document, chosen.id) if chosen is not None else None

    def _choose(self, kept: dict[str, ChosenNode], document: Any) -> None:
        node = self._room.active_node(document)
        if node is not None:
            kept[self._room.document_id(document)] = node

    def _name(self, kept: dict[str, ChosenNode], document: Any | None) -> str:
        if document is None:
            return ""
        chosen = kept.get(self._room.document_id(document))
        return chosen.name if chosen is not None else ""
