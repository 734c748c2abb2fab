"""What is selected, and what the docker says of it, enter; where something new is wanted leaves.

Signals:
    layers_chosen(str, str)  names of the layers that are mask and context; "" for none
"""

from __future__ import annotations

from typing import Any

from ..canvas.room import CanvasRoom
from ..model.live_state import LiveState
from ..model.settings import AREA_LAYER, Settings
from ..qt import QtCore, Signal
from .chosen_layers import ChosenLayers
from .notes import layer_covers_nothing, nothing_selected
from .presenter import Presenter
from .sender import CanvasSender

__all__ = ["AreaFlow"]


class AreaFlow(QtCore.QObject):
    """Whether a part of the canvas is repainted or all of it, and what the painter hears of it."""

    layers_chosen = Signal(str, str)

    def __init__(
        self,
        room: CanvasRoom,
        settings: Settings,
        live_state: LiveState,
        chosen: ChosenLayers,
        sender: CanvasSender,
        presenter: Presenter,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.was_selected = False
        """Once something was selected, losing the selection pauses: the painter did not ask for
        the whole canvas."""
        self._room = room
        self._settings = settings
        self._live_state = live_state
        self._chosen = chosen
        self._sender = sender
        self._presenter = presenter

    def is_of_layer(self, document: Any | None) -> bool:
        return document is not None and self._settings.get("area") == AREA_LAYER

    def is_part(self, document: Any | None) -> bool:
        """Whether less than the whole canvas is wanted."""
        return self._sender.has_selection or self.was_selected or self.is_of_layer(document)

    def forget(self) -> None:
        """Another document, or another wish."""
        self.was_selected = False
        self._live_state.forget("selection")

    def choose(self, *, context: bool = False) -> None:
        """The active layer becomes the mask, or the context, of the document in front."""
        # With live off nothing is followed, but something is in front all the same.
        document = self._room.active_document()
        if document is None:
            return
        if context:
            if self._settings.get("inpaint_context_layer"):
                self._chosen.choose_context(document)
        elif self._settings.get("area") == AREA_LAYER:
            self._chosen.choose_mask(document)
        self.layers_chosen.emit(
            self._chosen.mask_name(document), self._chosen.context_name(document)
        )

    def note(self, document: Any | None) -> None:
        """Tell the painter where nothing is to be repainted; what was shown of it goes."""
        if self._sender.has_selection:
            self.was_selected = True
            self._live_state.forget("selection")
        elif self.is_of_layer(document):
            self._presenter.withdraw()
            name = self._chosen.mask_name(document)
            self._live_state.tell("selection", *layer_covers_nothing(name))
        elif self.was_selected:
            self._presenter.withdraw()
            self._live_state.tell("selection", *nothing_selected())
