"""A style enters; the painter's version of it leaves, as a file.

Signals:
    kept(str)  the name of the style that was saved, or whose own version was removed
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from nijimi_protocol.params import MAX_STEPS

from ..model.models import KnownModels
from ..model.styles import Sampling, Style, Styles
from ..qt import QtCore, QtWidgets, Signal
from ..texts import tr
from .samplers import SAMPLERS

__all__ = ["StyleDialog"]

_LORA = re.compile(r"\s*([^:,]+?)\s*(?::\s*(-?\d+(?:\.\d+)?))?\s*")


class StyleDialog(QtWidgets.QDialog):
    """A form for one style; it does not stop Krita while it is open."""

    kept = Signal(str)

    def __init__(self, styles: Styles, style: Style, models: KnownModels, parent: Any) -> None:
        super().__init__(parent)
        self._styles = styles
        self._style = style
        self.setWindowTitle(tr("Style"))
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        form = QtWidgets.QFormLayout(self)
        self._title = _line("title", "" if style.name == "" else style.title)
        self._model = QtWidgets.QComboBox()
        self._model.setObjectName("nijimi_style_model")
        self._model.addItem(tr("The one in use"), "")
        for entry in models.checkpoints():
            self._model.addItem(entry.title, entry.name)
        if self._model.findData(style.model) < 0:
            # Kept, not replaced: its file may come back.
            self._model.addItem(tr("{name} (not found)", name=style.model), style.model)
        self._model.setCurrentIndex(self._model.findData(style.model))
        self._prompt = _line("prompt", style.prompt)
        self._prompt.setToolTip(tr("{prompt} stands for what is written in the docker."))
        self._negative = _line("negative", style.negative_prompt)
        self._loras = _line(
            "loras", ", ".join(f"{name}:{weight:g}" for name, weight in style.loras)
        )
        self._loras.setPlaceholderText(tr("name:0.8, other:1"))
        self._live = _SamplingRow("live", style.live)
        self._final = _SamplingRow("final", style.final)
        self._told = QtWidgets.QLabel()
        self._told.setObjectName("nijimi_style_told")
        self._told.setWordWrap(True)
        form.addRow(tr("Name"), self._title)
        form.addRow(tr("Model"), self._model)
        form.addRow(tr("Prompt"), self._prompt)
        form.addRow(tr("Not there"), self._negative)
        form.addRow(tr("LoRAs"), self._loras)
        form.addRow(tr("Live"), self._live)
        form.addRow(tr("Finished"), self._final)
        form.addRow(self._told)
        form.addRow(self._buttons())
        self.setMinimumWidth(420)

    def _buttons(self) -> Any:
        box = QtWidgets.QDialogButtonBox()
        roles = QtWidgets.QDialogButtonBox.ButtonRole
        if self._style.name:
            save = box.addButton(tr("Save"), roles.AcceptRole)
            save.setObjectName("nijimi_style_save")
            save.clicked.connect(lambda: self._save(self._style.name))
        new = box.addButton(tr("Save as a new one"), roles.ActionRole)
        new.setObjectName("nijimi_style_new")
        new.clicked.connect(lambda: self._save(""))
        if self._style.is_own:
            remove = box.addButton(tr("Remove"), roles.DestructiveRole)
            remove.setObjectName("nijimi_style_remove")
            remove.setToolTip(tr("A style that came with Nijimi is then itself again."))
            remove.clicked.connect(self._remove)
        close = box.addButton(tr("Close"), roles.RejectRole)
        close.clicked.connect(self.close)
        return box

    def _save(self, name: str) -> None:
        title = self._title.text().strip()
        if not title:
            self._told.setText(tr("Give the style a name."))
            return
        loras = _read_loras(self._loras.text())
        if loras is None:
            self._told.setText(tr("LoRAs are written as name:weight, with commas between them."))
            return
        style = replace(
            self._style,
            name=name,
            # One name for every language: which of the others still fit, nobody knows.
            titles=self._style.titles if title == self._style.title else {"en": title},
            model=self._model.currentData(),
            prompt=self._prompt.text().strip(),
            negative_prompt=self._negative.text().strip(),
            loras=loras,
            live=self._live.sampling(),
            final=self._final.sampling(),
        )
        try:
            kept = self._styles.save(style)
        except OSError as error:
            self._told.setText(
                tr("The style cannot be written ({error}).", error=error.strerror or error)
            )
            return
        self.kept.emit(kept.name)
        self.close()

    def _remove(self) -> None:
        try:
            self._styles.remove(self._style.name)
        except OSError as error:
            self._told.setText(
                tr("The style cannot be written ({error}).", error=error.strerror or error)
            )
            return
        self.kept.emit(self._styles.get(self._style.name).name)
        self.close()


class _SamplingRow(QtWidgets.QWidget):
    """Sampler, steps and guidance side by side."""

    def __init__(self, name: str, sampling: Sampling) -> None:
        super().__init__()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._sampler = QtWidgets.QComboBox()
        self._sampler.setObjectName(f"nijimi_style_{name}_sampler")
        for text, value, tip in SAMPLERS:
            self._sampler.addItem(tr(text), value)
            role = QtCore.Qt.ItemDataRole.ToolTipRole
            self._sampler.setItemData(self._sampler.count() - 1, tr(tip), role)
        self._sampler.setCurrentIndex(max(0, self._sampler.findData(sampling.sampler)))
        self._steps = QtWidgets.QSpinBox()
        self._steps.setObjectName(f"nijimi_style_{name}_steps")
        self._steps.setRange(1, MAX_STEPS)
        self._steps.setSuffix(tr(" steps"))
        self._steps.setValue(sampling.steps)
        self._guidance = QtWidgets.QDoubleSpinBox()
        self._guidance.setObjectName(f"nijimi_style_{name}_guidance")
        self._guidance.setRange(1.0, 15.0)
        self._guidance.setDecimals(1)
        self._guidance.setSingleStep(0.5)
        self._guidance.setToolTip(tr("Guidance"))
        self._guidance.setValue(sampling.guidance_scale)
        row.addWidget(self._sampler, 1)
        row.addWidget(self._steps)
        row.addWidget(self._guidance)

    def sampling(self) -> Sampling:
        return Sampling(
            sampler=self._sampler.currentData(),
            steps=self._steps.value(),
            guidance_scale=round(self._guidance.value(), 1),
        )


def _line(name: str, text: str) -> Any:
    field = QtWidgets.QLineEdit(text)
    field.setObjectName(f"nijimi_style_{name}")
    # The beginning says more than the end.
    field.setCursorPosition(0)
    return field


def _read_loras(text: str) -> tuple[tuple[str, float], ...] | None:
    """Names and weights, or None for what is written otherwise."""
    found: list[tuple[str, float]] = []
    for part in filter(str.strip, text.split(",")):
        match = _LORA.fullmatch(part)
        if match is None:
            return None
        found.append((match[1], float(match[2] or 1.0)))
    return tuple(found)
