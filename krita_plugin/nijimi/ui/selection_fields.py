"""Settings of a selection enter; the fields for them leave: where, what, and how its edges are."""

from __future__ import annotations

from nijimi_protocol.inpaint import MAX_REACH_PX

from ..model.settings import AREA_LAYER, AREA_SELECTION, AREA_WHOLE, Settings
from ..qt import QtWidgets
from ..texts import tr
from .fields import CheckField, ChoiceField, NumberField

__all__ = ["EdgeFields", "SelectionRow"]

_ACTIVE_LAYER = "Active layer"
_CONTEXT_LAYER = "Context from the active layer"


class SelectionRow(QtWidgets.QWidget):
    """What is rendered, and what is to be done with a selection."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self._area = ChoiceField(
            settings,
            "area",
            (
                ("Selection", AREA_SELECTION, "Only what is selected; without one, everything."),
                ("Whole picture", AREA_WHOLE, "Everything, whatever is selected."),
                (
                    _ACTIVE_LAYER,
                    AREA_LAYER,
                    "What the layer or mask covers that is active now: a selection mask, a "
                    "transparency mask's layer, or a layer where it is opaque.",
                ),
            ),
        )
        mode = ChoiceField(
            settings,
            "inpaint_mode",
            (
                ("Automatic", "auto", "Expand into emptiness, fill at full strength, or refine."),
                ("Fill", "fill", "Something new, whatever is there."),
                ("Refine", "refine", "What is there, changed as far as the strength says."),
                ("Expand", "expand", "Paint where the canvas is still transparent."),
                ("Remove", "remove", "Let what is selected vanish."),
                ("Background", "background", "Repaint everything but what is selected."),
                ("Custom", "custom", "Strength and first fill exactly as they are set below."),
            ),
        )
        row.addWidget(self._area, 1)
        row.addWidget(mode, 1)

    def show_layer(self, name: str) -> None:
        """The layer that is the mask; "" for none."""
        text = tr("Layer: {name}", name=name) if name else tr(_ACTIVE_LAYER)
        self._area.setItemText(self._area.findData(AREA_LAYER), text)


class EdgeFields(QtWidgets.QWidget):
    """How far a repainted selection reaches, and what it begins as."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("nijimi_edges")
        grid = QtWidgets.QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        lengths = (
            ("grow", "Grow", "How far the model repaints beyond the selection, unseen."),
            ("feather", "Feather", "Over how much inside its edge the content changes gradually."),
            ("blend", "Blend", "Over how much inside its edge new and old are mixed."),
            ("context", "Context", "How much around it the model sees; 0 chooses by rule."),
        )
        for n, (name, title, tip) in enumerate(lengths):
            field = NumberField(settings, f"inpaint_{name}_px", 0, MAX_REACH_PX, tip, " px")
            grid.addWidget(QtWidgets.QLabel(tr(title)), n // 2, 2 * (n % 2))
            grid.addWidget(field, n // 2, 2 * (n % 2) + 1)
        fill = ChoiceField(
            settings,
            "inpaint_fill",
            (
                ("As it is", "none", "Custom begins with what is there."),
                ("Grey", "neutral", "Custom begins with plain grey."),
                ("Blurred", "blur", "Custom begins with the surroundings, blurred."),
                ("Border", "border", "Custom begins with the border, stretched inwards."),
            ),
        )
        match = ChoiceField(
            settings,
            "inpaint_match",
            (
                ("Along edge", "edge", "Colours and light fit the surroundings all along."),
                ("One shift", "shift", "Colours and light are shifted as a whole."),
                ("Off", "off", "Colours and light stay as the model made them."),
            ),
        )
        for column, (title, choice) in enumerate((("Fill", fill), ("Match", match))):
            grid.addWidget(QtWidgets.QLabel(tr(title)), 2, 2 * column)
            grid.addWidget(choice, 2, 2 * column + 1)
        self._context = CheckField(
            settings,
            "inpaint_context_layer",
            _CONTEXT_LAYER,
            "The model sees at least what the layer covers that is active when this is switched "
            "on.",
        )
        grid.addWidget(self._context, 3, 0, 1, 4)

    def show_context(self, name: str) -> None:
        """The layer that is the context; "" for none."""
        title = tr(_CONTEXT_LAYER)
        self._context.setText(f"{title}: {name}" if name else title)
