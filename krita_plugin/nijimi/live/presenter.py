"""Pictures enter; an overlay, a preview layer or an applied layer of the document leaves.

Layers are written only when Krita is at rest; what cannot be done now is tried again until it
can, or until the document is gone.

Signals:
    refused(str, str)  Apply is not possible: a sentence and what to do
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..canvas.room import CanvasRoom, ChangeTakenBack, SelectionMask
from ..model.picture import APPLY_MASKED, APPLY_NEW, APPLY_REPLACING, Picture
from ..model.settings import SHOW_LAYER, SHOW_NOTHING, Settings
from ..qt import QtCore, Signal
from ..texts import tr

__all__ = ["Presenter"]

_REST_TURN_MS = 60

_KNOWN_LAYERS = 64

_GIVE_BACK_MS = 10
_GIVE_BACK_TURNS = 50
"""Krita makes a new layer the active one within this time, and tells nobody."""


class Presenter(QtCore.QObject):
    """Shows the newest picture of the document in front while it is switched on."""

    refused = Signal(str, str)

    def __init__(self, room: CanvasRoom, settings: Settings, parent: Any = None) -> None:
        super().__init__(parent)
        self.is_on = False
        self.picture: Picture | None = None
        self._looked_at: Picture | None = None
        self._room = room
        self._settings = settings
        self._document: Any = None
        self._to_clean: list[Any] = []
        self._to_apply: tuple[Any, Picture, str, str] | None = None
        self._applied: dict[str, deque[str]] = {}
        """Layers that pictures became, by document, the newest first."""
        self._written: tuple[Picture, float] | None = None
        self._rest = QtCore.QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_TURN_MS)
        self._rest.timeout.connect(self._rest_turn)
        self._give_back: tuple[Any, Any] | None = None
        self._give_back_turns = 0
        self._soon = QtCore.QTimer(self)
        self._soon.setInterval(_GIVE_BACK_MS)
        self._soon.timeout.connect(self._give_back_turn)

    @property
    def picture_in_front(self) -> Picture | None:
        """The newest picture, if it is of the document in front: with live off it may not be."""
        document, picture = self._room.active_document(), self.picture
        if document is None or picture is None:
            return None
        return picture if self._room.document_id(document) == picture.document_id else None

    def set_document(self, document: Any | None) -> None:
        """Another document is in front, or none."""
        self._give_back = None
        self._leave()
        self._document = document
        self.picture = self._looked_at = None
        self._room.overlay.clear()

    def tidy(self, document: Any | None) -> None:
        """A preview layer that a crash left in this document goes, unless it is wanted again."""
        if (
            document is not None
            and not self._wants_layer
            and self._room.preview_layer(document).is_there
        ):
            self._to_clean.append(document)
            self._rest.start()

    def follow(self, document: Any) -> None:
        """The same document by a newer wrapper of Krita's."""
        self._document = document

    def start(self) -> None:
        self.is_on = True

    def stop(self) -> None:
        """Live off: the canvas is free of us. The picture stays, to be applied."""
        self.is_on = False
        self._room.overlay.clear()
        self._leave()

    def end(self) -> None:
        """Krita ends: the last chance to leave nothing behind."""
        self.stop()
        self._soon.stop()
        self._rest_turn()
        self._rest.stop()
        self._room.overlay.detach()

    def withdraw(self) -> None:
        """What was shown is no longer wanted on the canvas."""
        self.picture = None
        self._room.overlay.clear()
        self._leave()

    def show(self, picture: Picture) -> None:
        self.picture = picture
        self._show_on_canvas()
        if not self._room.watcher.is_pen_down:
            self._rest.start()

    def refresh(self) -> None:
        """Where or how the picture shows is another now."""
        self._show_on_canvas()
        if self._wants_layer:
            self._rest.start()
        else:
            self._leave()

    def look_at(self, picture: Picture | None) -> None:
        """Show that one over the canvas, with live off, too, until None says to go on."""
        self._looked_at = picture
        self._show_on_canvas()

    def apply(
        self, picture: Picture | None = None, prompt: str | None = None, *, how: str = APPLY_NEW
    ) -> None:
        """Put the newest picture into a layer of its own, as soon as Krita is at rest.

        Or another one, which is named by its ``prompt``. APPLY_MASKED: all of it, with a mask on
        the layer that shows what is selected. APPLY_REPLACING: in place of the last one, as long
        as that is there.
        """
        picture = picture or self._looked_at or self.picture
        if picture is None:
            return
        document = self._room.active_document()
        if document is None or self._room.document_id(document) != picture.document_id:
            self.refused.emit(
                tr("This picture belongs to another document."),
                tr("Bring that one to the front, or paint here with Live on."),
            )
            return
        if self._room.document_extent(document) != picture.canvas:
            self.refused.emit(
                tr("The canvas has another size now than in this picture."),
                tr("Wait for the next picture; with Live off, switch it on."),
            )
            return
        text: str = self._settings.get("prompt") if prompt is None else prompt
        words = " ".join(text.split())[:40] or "picture"
        self._to_apply = (document, picture, f"Nijimi: {words}", how)
        self._rest_turn()

    def _leave(self) -> None:
        """Have our preview layer removed from this document."""
        if self._document is None:
            return
        if self._document not in self._to_clean:
            self._to_clean.append(self._document)
        self._rest_turn()

    def _show_on_canvas(self) -> None:
        overlay, picture = self._room.overlay, self._looked_at or self.picture
        how = self._settings.get("show_on_canvas")
        is_in_layer = how == SHOW_LAYER and not self._room.watcher.is_pen_down
        hidden = not self.is_on or how == SHOW_NOTHING or is_in_layer
        # A finished picture is looked at as it is, whatever is seen through a live one.
        is_looked_at = self._looked_at is not None
        overlay.set_opacity(1.0 if is_looked_at else self._settings.get("overlay_opacity"))
        if picture is None or (hidden and not is_looked_at):
            overlay.clear()
        else:
            overlay.show_picture(
                picture.pixels,
                picture.extent,
                picture.area,
                picture.canvas,
                is_opaque=picture.selected is None,
                is_quick=self._room.watcher.is_pen_down,
            )

    def _rest_turn(self) -> None:
        """What must not disturb a stroke: layers."""
        self._rest.stop()
        self._to_clean = [document for document in self._to_clean if not self._clean(document)]
        if self._to_apply is not None and self._apply_now(*self._to_apply):
            self._to_apply = None
        is_shown = self._update_preview()
        if self._to_clean or self._to_apply is not None or not is_shown:
            self._rest.start()

    @property
    def _wants_layer(self) -> bool:
        return self.is_on and self._settings.get("show_on_canvas") == SHOW_LAYER

    def _may_write(self, document: Any) -> bool:
        return not self._room.watcher.is_pen_down and self._room.is_at_rest(document)

    def _clean(self, document: Any) -> bool:
        """Whether nothing is left to clean in that document."""
        if not self._room.is_open(document):
            return True
        if not self._may_write(document):
            return False
        self._written = None
        try:
            self._room.preview_layer(document).remove()
        except ChangeTakenBack as error:
            self.refused.emit(error.sentence, tr("Remove the layer Nijimi preview by hand."))
        return True

    def _apply_now(self, document: Any, picture: Picture, name: str, how: str) -> bool:
        """Whether that is over and done with."""
        if not self._room.is_open(document):
            return True
        if not self._may_write(document):
            return False
        known = self._applied.setdefault(picture.document_id, deque(maxlen=_KNOWN_LAYERS))
        try:
            known.appendleft(self._make_layer(document, picture, name, how, tuple(known)))
        except ChangeTakenBack as error:
            self.refused.emit(error.sentence, error.action)
        return True

    def _make_layer(
        self, document: Any, picture: Picture, name: str, how: str, known: tuple[str, ...]
    ) -> str:
        """The id of the layer that the picture became."""
        room, own = self._room, _selection_of(picture)
        what = (picture.pixels, picture.extent, picture.area_in_canvas)
        if how == APPLY_MASKED:
            selection = own or room.selection_mask(document)
            return room.apply_masked(document, *what, name, selection, of_selection=own is not None)
        replaced = None
        if how == APPLY_REPLACING:
            replaced = room.replace_picture(document, known, *what, own)
        return replaced or room.apply_picture(document, *what, name, own)

    def _update_preview(self) -> bool:
        """Whether the preview layer, where one is wanted, holds the newest picture."""
        document, picture = self._document, self.picture
        if (
            not self._wants_layer
            or picture is None
            or document is None
            or not self._room.is_open(document)
        ):
            return True
        wanted = (picture, self._settings.get("overlay_opacity"))
        if not picture.is_final or wanted == self._written:
            return True
        if not self._may_write(document):
            return False
        self._show_on_canvas()
        layer = self._room.preview_layer(document)
        # Once a picture, whether it goes well or not: the next one is tried again.
        self._written = wanted
        try:
            painters = layer.show(
                picture.pixels, picture.extent, picture.area, wanted[1], _selection_of(picture)
            )
        except ChangeTakenBack as error:
            self.refused.emit(error.sentence, error.action)
            return True
        if painters is not None:
            self._give_back = (layer, painters)
            self._give_back_turns = _GIVE_BACK_TURNS
            self._soon.start()
        return True

    def _give_back_turn(self) -> None:
        """The painter goes on on the layer that was active before ours was made."""
        self._give_back_turns -= 1
        document, give_back = self._document, self._give_back
        if give_back is None or self._give_back_turns < 0 or document is None:
            self._give_back = None
            self._soon.stop()
        elif self._room.is_open(document):
            layer, painters = give_back
            self._give_back = (layer, layer.give_back(painters))


def _selection_of(picture: Picture) -> SelectionMask | None:
    if picture.selected is None:
        return None
    return SelectionMask(picture.selected, picture.selection)
