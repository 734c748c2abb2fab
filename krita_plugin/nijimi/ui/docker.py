"""Settings and live state enter; the docker's panel leaves, and the painter's wishes with it.

Signals:
    apply_clicked(str)  the picture is to become a layer: APPLY_NEW, _MASKED or _REPLACING
    retry_clicked()
    set_up_clicked()
    picture_dropped(str)  a picture file whose settings are wanted
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nijimi_protocol.params import MAX_SEED

from ..model.batches import BatchQueue
from ..model.controls import Controls
from ..model.live_state import RETRY, SET_UP, LiveState
from ..model.models import KnownModels
from ..model.picture import APPLY_MASKED, APPLY_NEW, APPLY_REPLACING, Picture
from ..model.results import Results
from ..model.settings import SHOW_LAYER, SHOW_NOTHING, SHOW_OVERLAY, Settings
from ..model.styles import Styles
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr
from .control_rows import ControlRows
from .fields import ChoiceField, NumberField, PercentField, dropped_file
from .generate_row import GenerateRow
from .model_fields import ModelRow, SamplerFields
from .preview import Preview
from .prompt_editor import PromptEditor
from .results_strip import ResultsStrip
from .selection_fields import EdgeFields, SelectionRow
from .upscale_row import UpscaleRow

__all__ = ["DockerPanel"]


class DockerPanel(QtWidgets.QWidget):
    """Prompt, strength, steps, seed, live, preview, Apply and a status line."""

    apply_clicked = Signal(str)
    retry_clicked = Signal()
    set_up_clicked = Signal()
    picture_dropped = Signal(str)

    def __init__(
        self,
        settings: Settings,
        live_state: LiveState,
        controls: Controls,
        icon: Callable[[str], Any],
        presets: tuple[str, ...] = (),
        models: KnownModels | None = None,
        queue: BatchQueue | None = None,
        results: Results | None = None,
        styles: Styles | None = None,
        tags: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._live_state = live_state
        self._icon = icon
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        self._models = models or KnownModels(self)
        self._tags = tags
        layout.addWidget(ModelRow(settings, self._models, styles or Styles(), icon))
        self._prompt = self._text_field("prompt", "What shall it be? e.g. a red house at sunset", 3)
        self._negative = self._text_field("negative_prompt", "What shall not be there", 2)
        self._second = self._text_field("second_prompt", "Another prompt, to go over to", 2)
        self._texts = {
            "prompt": self._prompt, "negative_prompt": self._negative,
            "second_prompt": self._second,
        }  # fmt: skip
        self._prompt.history = lambda: self._settings.get("prompt_history")
        layout.addWidget(self._prompt)
        layout.addWidget(self._negative)
        layout.addWidget(self._second)
        self._blend = PercentField(
            settings, "prompt_blend", "How far from the first prompt to the second."
        )
        layout.addWidget(self._blend)
        self._edges = EdgeFields(settings)
        self._sampler = SamplerFields(settings, self._models)
        layout.addWidget(self._edges)
        layout.addWidget(self._sampler)
        layout.addLayout(self._sliders())
        self._selection = SelectionRow(settings)
        layout.addWidget(self._selection)
        self.control_rows = ControlRows(controls, icon, presets, self._words)
        layout.addWidget(self.control_rows)
        layout.addLayout(self._buttons())
        self.generate_row = GenerateRow(settings, queue or BatchQueue(self), icon)
        self.upscale_row = UpscaleRow(settings, self._models, icon)
        layout.addWidget(self.generate_row)
        layout.addWidget(self.upscale_row)
        layout.addLayout(self._canvas_row())
        # Above what may be scrolled out of sight in a low docker.
        layout.addLayout(self._status_row())
        self._preview = Preview()
        layout.addWidget(self._preview, 1)
        self.results_strip = ResultsStrip(results or Results(self), icon, self._models.digests)
        layout.addWidget(self.results_strip)
        self._fold_negative(bool(settings.get("negative_prompt") or settings.get("second_prompt")))
        settings.changed.connect(self._setting_changed)
        live_state.changed.connect(self._state_changed)
        self.setAcceptDrops(True)
        self._state_changed()

    def dragEnterEvent(self, event: Any) -> None:
        if dropped_file(event, ".png"):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        if path := dropped_file(event, ".png"):
            self.picture_dropped.emit(path)

    def show_picture(self, picture: Picture | None) -> None:
        self._preview.set_picture(picture)

    def show_layers(self, mask: str, context: str) -> None:
        """Names of the layers that are mask and context; "" for none."""
        self._selection.show_layer(mask)
        self._edges.show_context(context)

    def apply(self, how: str = APPLY_NEW) -> None:
        """As its button does, where it may be pressed."""
        self._applies[how].click()

    def focus_prompt(self) -> None:
        """Bring the docker up and the cursor into the prompt, all of it selected."""
        widget: Any = self
        while widget is not None and not isinstance(widget, QtWidgets.QDockWidget):
            widget = widget.parentWidget()
        if widget is not None:
            widget.show()
            widget.raise_()
        self._prompt.setFocus(QtCore.Qt.FocusReason.ShortcutFocusReason)
        self._prompt.selectAll()

    # Building ------------------------------------------------------------------------------

    def _text_field(self, name: str, placeholder: str, lines: int) -> Any:
        field = PromptEditor(self._settings.get(name), self._words)
        field.setObjectName(f"nijimi_{name}")
        field.setPlaceholderText(tr(placeholder))
        height = field.fontMetrics().lineSpacing() * lines + 12
        field.setFixedHeight(height)
        field.rested.connect(lambda text: self._settings.set(name, text))
        return field

    def _words(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """What a prompt can name: LoRAs and embeddings of the model's family, and tags."""
        entries = self._models.adapters(self._settings.get("model"))
        loras = tuple(entry.name for entry in entries if entry.kind == "lora")
        embeddings = tuple(entry.name for entry in entries if entry.kind == "embedding")
        return loras, embeddings, self._tags()

    def _sliders(self) -> Any:
        grid = QtWidgets.QGridLayout()
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        strength = PercentField(
            self._settings, "strength",
            "How far the picture may leave your drawing: 0 % keeps it, 100 % ignores it.",
        )  # fmt: skip
        grid.addWidget(QtWidgets.QLabel(tr("Strength")), 0, 0)
        grid.addWidget(strength, 0, 1)
        self._steps = NumberField(
            self._settings, "num_inference_steps", 1, 50,
            "Steps of a live picture: more are better and slower.",
        )  # fmt: skip
        self._steps.setObjectName("nijimi_steps")
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self._steps)
        row.addStretch(1)
        row.addWidget(QtWidgets.QLabel(tr("Seed")))
        self._seed = QtWidgets.QLineEdit(str(self._settings.get("seed")))
        self._seed.setObjectName("nijimi_seed")
        self._seed.setMaximumWidth(self.fontMetrics().horizontalAdvance("00000000000"))
        self._seed.setValidator(
            QtGui.QRegularExpressionValidator(QtCore.QRegularExpression("[0-9]{1,10}"), self)
        )
        self._seed.editingFinished.connect(self._seed_typed)
        row.addWidget(self._seed)
        self._dice = self._tool("view-refresh", "Another seed")
        self._dice.setObjectName("nijimi_dice")
        self._dice.clicked.connect(self._settings.new_seed)
        row.addWidget(self._dice)
        self._lock = self._tool("layer-locked", "Keep this seed after Apply", checkable=True)
        self._lock.setObjectName("nijimi_seed_lock")
        self._lock.setChecked(self._settings.get("seed_locked"))
        self._lock.toggled.connect(lambda on: self._settings.set("seed_locked", on))
        row.addWidget(self._lock)
        grid.addWidget(QtWidgets.QLabel(tr("Steps")), 1, 0)
        grid.addLayout(row, 1, 1)
        return grid

    def _buttons(self) -> Any:
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(6)
        self._live = QtWidgets.QPushButton(tr("Live"))
        self._live.setObjectName("nijimi_live")
        self._live.setCheckable(True)
        # In Krita's dark themes a checked button looks like any other.
        self._live.setStyleSheet(
            "QPushButton:checked { background: palette(highlight);"
            " color: palette(highlighted-text); font-weight: bold; }"
        )
        self._live.setAutoDefault(False)
        self._live.setIcon(self._icon("media-playback-start"))
        self._live.setToolTip(tr("Turn what you paint into a picture while you paint."))
        self._live.setChecked(self._settings.get("live"))
        self._live.toggled.connect(lambda on: self._settings.set("live", on))
        self._apply = QtWidgets.QPushButton(tr("Apply"))
        self._apply.setObjectName("nijimi_apply")
        self._apply.setAutoDefault(False)
        self._apply.setIcon(self._icon("addlayer"))
        self._apply.setToolTip(tr("Put the picture into a new layer above the active one."))
        self._applies = {
            APPLY_NEW: self._apply,
            APPLY_MASKED: self._tool(
                "transparencyMask", "Apply with a mask on the layer, to paint its edges anew"
            ),
            APPLY_REPLACING: self._tool("duplicatelayer", "Apply in place of the last one"),
        }
        self._applies[APPLY_MASKED].setObjectName("nijimi_apply_mask")
        self._applies[APPLY_REPLACING].setObjectName("nijimi_apply_replacing")
        for how, button in self._applies.items():
            button.clicked.connect(lambda _=False, how=how: self._apply_pressed(how))
        self._more = self._tool(
            "arrow-down",
            "Negative and second prompt, edges of a selection, sampler",
            checkable=True,
        )
        self._more.setObjectName("nijimi_more")
        self._more.toggled.connect(self._fold_negative)
        row.addWidget(self._live, 1)
        row.addWidget(self._apply, 1)
        row.addWidget(self._applies[APPLY_MASKED])
        row.addWidget(self._applies[APPLY_REPLACING])
        row.addWidget(self._more)
        return row

    def _canvas_row(self) -> Any:
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(6)
        where = ChoiceField(
            self._settings,
            "show_on_canvas",
            (
                ("Over the canvas", SHOW_OVERLAY, "Seen over the canvas, also while you paint."),
                ("In a preview layer", SHOW_LAYER, "A locked layer, written when the pen is up."),
                ("Here only", SHOW_NOTHING, "The canvas stays as it is."),
            ),
        )
        self._opacity = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._opacity.setObjectName("nijimi_opacity")
        self._opacity.setRange(5, 100)
        self._opacity.setToolTip(tr("How much of the picture is seen over your painting."))
        self._opacity.setValue(round(100 * self._settings.get("overlay_opacity")))
        self._opacity.valueChanged.connect(
            lambda value: self._settings.set("overlay_opacity", value / 100)
        )
        row.addWidget(where)
        row.addWidget(self._opacity, 1)
        return row

    def _status_row(self) -> Any:
        row = QtWidgets.QHBoxLayout()
        self._status = QtWidgets.QLabel()
        self._status.setObjectName("nijimi_status")
        self._status.setWordWrap(True)
        # Long sentences wrap; they never widen the docker.
        policy = QtWidgets.QSizePolicy.Policy
        self._status.setSizePolicy(policy.Ignored, policy.Preferred)
        row.addWidget(self._status, 1)
        self._remedies: dict[str, Any] = {}
        for remedy, title, name, signal in (
            (RETRY, "Retry", "nijimi_retry", self.retry_clicked),
            (SET_UP, "Set up…", "nijimi_set_up", self.set_up_clicked),
        ):
            button = QtWidgets.QPushButton(tr(title))
            button.setObjectName(name)
            button.setAutoDefault(False)
            button.clicked.connect(signal)
            row.addWidget(button)
            self._remedies[remedy] = button
        return row

    def _tool(self, icon: str, tip: str, *, checkable: bool = False) -> Any:
        button = QtWidgets.QToolButton()
        button.setIcon(self._icon(icon))
        button.setToolTip(tr(tip))
        button.setAutoRaise(True)
        button.setCheckable(checkable)
        return button

    # Reacting ------------------------------------------------------------------------------

    def _apply_pressed(self, how: str) -> None:
        self.apply_clicked.emit(how)
        self._settings.note_prompt()
        if not self._settings.get("seed_locked"):
            self._settings.new_seed()

    def _seed_typed(self) -> None:
        text = self._seed.text()
        self._settings.set("seed", min(int(text), MAX_SEED) if text else 0)
        self._seed.setText(str(self._settings.get("seed")))

    def _fold_negative(self, shown: bool) -> None:
        for folded in (self._negative, self._second, self._blend, self._edges, self._sampler):
            folded.setVisible(shown)
        self._more.setChecked(shown)
        self._more.setIcon(self._icon("arrow-up" if shown else "arrow-down"))

    def _setting_changed(self, name: str) -> None:
        value = self._settings.get(name)
        if name == "live":
            self._live.setChecked(value)
        elif name == "seed":
            self._seed.setText(str(value))
        elif name in self._texts and self._texts[name].toPlainText() != value:
            self._texts[name].setPlainText(value)

    def _state_changed(self) -> None:
        state = self._live_state
        self._status.setText(state.line())
        self._status.setStyleSheet("color: #e8a13a;" if state.problem else "")
        for remedy, button in self._remedies.items():
            button.setVisible(bool(state.problem) and state.remedy == remedy)
        for button in self._applies.values():
            button.setEnabled(state.has_picture)
