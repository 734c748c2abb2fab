"""Known models and settings enter; the fields that choose a model, and how it is run, leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nijimi_protocol.messages import ModelEntry

from ..model.models import KnownModels
from ..model.settings import Settings
from ..model.styles import Styles
from ..qt import QtCore, QtWidgets
from ..texts import tr
from .fields import ChoiceField, DecimalField, NumberField
from .samplers import SAMPLERS, SCHEDULES
from .style_field import StyleField

__all__ = ["ModelRow", "SamplerFields"]

_FAMILIES = {"sd1": "SD 1", "sd2": "SD 2", "sdxl": "SDXL", "sd3": "SD 3", "zimage": "Z-Image",
             "mini": "small"}  # fmt: skip
"""Names of families, but for the last."""


class ModelRow(QtWidgets.QWidget):
    """The checkpoint, the style, and a menu of what can be added to the prompt for it."""

    def __init__(
        self,
        settings: Settings,
        models: KnownModels,
        styles: Styles,
        icon: Callable[[str], Any],
    ) -> None:
        super().__init__()
        self._settings, self._models = settings, models
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self._choice = QtWidgets.QComboBox()
        self._choice.setObjectName("nijimi_model")
        self._choice.setToolTip(tr("The model that paints with you."))
        policy = QtWidgets.QSizePolicy.Policy
        self._choice.setSizePolicy(policy.Ignored, policy.Fixed)
        self._choice.activated.connect(
            lambda n: settings.set("model", self._choice.itemData(n) or "")
        )
        self._add = QtWidgets.QToolButton()
        self._add.setObjectName("nijimi_add_adapter")
        self._add.setIcon(icon("list-add"))
        self._add.setAutoRaise(True)
        self._add.setToolTip(tr("Put a LoRA or an embedding into the prompt."))
        self._add.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QtWidgets.QMenu(self._add)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._add.setMenu(self._menu)
        row.addWidget(self._choice, 3)
        row.addWidget(StyleField(settings, styles, models), 2)
        row.addWidget(self._add)
        models.changed.connect(self._show)
        settings.changed.connect(lambda name: self._show() if name == "model" else None)
        self._show()

    def _show(self) -> None:
        name = self._settings.get("model")
        chosen = self._models.chosen(name)
        self._choice.clear()
        for entry in self._models.checkpoints():
            family = tr(_FAMILIES.get(entry.family, entry.family))
            self._choice.addItem(f"{entry.title} ({family})", entry.name)
            tip = tr(
                "{title}: paints best at {px} x {px} px.", title=entry.title, px=entry.native_px
            )
            role = QtCore.Qt.ItemDataRole.ToolTipRole
            self._choice.setItemData(self._choice.count() - 1, tip, role)
        if chosen is None:
            # Kept, not replaced: its file may come back, and the choice is the painter's.
            text = tr("{name} (not found)", name=name) if name else tr("The first model there is")
            self._choice.insertItem(0, text, name)
        self._choice.setCurrentIndex(max(0, self._choice.findData(chosen.name if chosen else name)))

    def _fill_menu(self) -> None:
        self._menu.clear()
        entries = self._models.adapters(self._settings.get("model"))
        for entry in sorted(entries, key=lambda each: (each.kind, each.title.lower())):
            action = self._menu.addAction(f"{entry.title} ({entry.kind})")
            action.triggered.connect(lambda _on=False, entry=entry: self._insert(entry))
        if not entries:
            nothing = self._menu.addAction(tr("No LoRA or embedding for this model was found"))
            nothing.setEnabled(False)

    def _insert(self, entry: ModelEntry) -> None:
        words = {"lora": f"<lora:{entry.name}:0.8>", "hypernetwork": f"<hypernet:{entry.name}:1>"}
        word = words.get(entry.kind, entry.name)
        prompt = self._settings.get("prompt")
        if word not in prompt:
            self._settings.set("prompt", f"{prompt} {word}".strip())


class SamplerFields(QtWidgets.QWidget):
    """Sampler, guidance and clip skip: what is rarely touched, for those who know it."""

    def __init__(self, settings: Settings, models: KnownModels) -> None:
        super().__init__()
        form = QtWidgets.QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow(tr("Sampler"), ChoiceField(settings, "sampler", SAMPLERS))
        form.addRow(tr("Schedule"), ChoiceField(settings, "schedule", SCHEDULES))
        guidance = DecimalField(
            settings, "guidance_scale", 1.0, 15.0,
            "How closely the words are followed: 1 for LCM and other fast models, 5 to 8 for "
            "others. Above 1 each step takes twice as long.",
        )  # fmt: skip
        form.addRow(tr("Guidance"), guidance)
        skip = NumberField(
            settings, "clip_skip", 0, 12,
            "Which of the text encoder's layers counts, from the end; 0 is the model's own. "
            "Many drawing models want 2.",
        )  # fmt: skip
        form.addRow(tr("Clip skip"), skip)
        form.addRow(tr("VAE"), _VaeField(settings, models))


class _VaeField(QtWidgets.QComboBox):
    """The autoencoder: the model's own, or a file."""

    def __init__(self, settings: Settings, models: KnownModels) -> None:
        super().__init__()
        self._settings, self._models = settings, models
        self.setObjectName("nijimi_vae")
        self.setToolTip(tr("What turns the model's numbers into colours, at the very end."))
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.activated.connect(lambda n: settings.set("vae", self.itemData(n)))
        models.changed.connect(self._show)
        settings.changed.connect(lambda name: self._show() if name == "vae" else None)
        self._show()

    def _show(self) -> None:
        chosen = self._settings.get("vae")
        self.clear()
        self.addItem(tr("The model's own"), "")
        for name in self._models.vaes():
            self.addItem(name, name)
        if self.findData(chosen) < 0:
            # Kept: its file may come back.
            self.addItem(tr("{name} (not found)", name=chosen), chosen)
        self.setCurrentIndex(self.findData(chosen))
