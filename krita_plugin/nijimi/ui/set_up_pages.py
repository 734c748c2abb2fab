"""How far something is enters; the guide's pages of long work and of models leave."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.set_up_choice import Fetchable, Known
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr
from .form_parts import PathField, wrapped_text

__all__ = ["ModelPage", "PicturePage", "WorkPage"]

_SHOWN_PX = 256
_MOST_GIB = 512


class WorkPage(QtWidgets.QWizardPage):
    """Something long: how far it is, what is done now, and what went wrong."""

    begun = Signal()
    given_up = Signal()

    def __init__(self, name: str, title: str, subtitle: str) -> None:
        super().__init__()
        self._name = name
        self._is_done = False
        self.setTitle(title)
        self.setSubTitle(subtitle)
        self.body = QtWidgets.QVBoxLayout(self)
        self._title = wrapped_text(f"nijimi_{name}_title")
        self._bar = QtWidgets.QProgressBar()
        self._bar.setObjectName(f"nijimi_{name}_bar")
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._detail = wrapped_text(f"nijimi_{name}_detail", is_small=True)
        self._again = QtWidgets.QPushButton(tr("Try again"))
        self._again.setObjectName(f"nijimi_{name}_again")
        self._again.setAutoDefault(False)
        self._again.clicked.connect(self._begin)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self._detail, 1)
        row.addWidget(self._again)
        self.body.addWidget(self._title)
        self.body.addWidget(self._bar)
        self.body.addLayout(row)
        self.body.addStretch(1)

    def initializePage(self) -> None:
        self._begin()

    def cleanupPage(self) -> None:
        """Back: what runs is given up, what has come is kept."""
        self.given_up.emit()

    def isComplete(self) -> bool:
        return self._is_done

    def show_progress(self, title: str, part: float | None, detail: str = "") -> None:
        """``part`` in [0, 1] never goes back; None where it is not known."""
        self._title.setText(title)
        self._detail.setText(detail)
        if part is None:
            self._bar.setRange(0, 0)
        else:
            self._bar.setRange(0, 1000)
            self._bar.setValue(max(self._bar.value(), round(1000 * part)))

    def show_failure(self, sentence: str, action: str) -> None:
        self._title.setText(sentence)
        self._detail.setText(action)
        self._bar.setRange(0, 1000)
        self._again.show()

    def show_done(self, title: str, detail: str = "") -> None:
        self._is_done = True
        self.show_progress(title, 1.0, detail)
        self.completeChanged.emit()

    def _begin(self) -> None:
        self._is_done = False
        self._again.hide()
        self._bar.setRange(0, 1000)
        self._bar.setValue(0)
        self.completeChanged.emit()
        self.begun.emit()


class ModelPage(QtWidgets.QWizardPage):
    """What it shall paint with: its own small model, files that are there, or a download."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.setTitle(tr("What shall it paint with?"))
        self.setSubTitle(tr("You can change this at any time, in the docker."))
        self._known: tuple[Fetchable, ...] = ()
        layout = QtWidgets.QVBoxLayout(self)
        self._own = QtWidgets.QRadioButton(tr("Nijimi's own small model: quick, and soft"))
        self._own.setObjectName("nijimi_set_up_own")
        self._mine = QtWidgets.QRadioButton(tr("Models that I have, of ComfyUI, A1111 or Forge"))
        self._mine.setObjectName("nijimi_set_up_mine")
        self._folder = PathField("nijimi_set_up_folder", known.models_folder, is_folder=True)
        self._folder.changed.connect(lambda _: self.completeChanged.emit())
        self._fetch = QtWidgets.QRadioButton(tr("A model to download"))
        self._fetch.setObjectName("nijimi_set_up_fetch")
        self._list = QtWidgets.QComboBox()
        self._list.setObjectName("nijimi_set_up_list")
        self._list.currentIndexChanged.connect(lambda _: self._describe())
        self._about = wrapped_text("nijimi_set_up_about", is_small=True)
        self._about.setOpenExternalLinks(True)
        for widget, indent in (
            (self._own, 0), (self._mine, 0), (self._folder, 22), (self._fetch, 0),
            (self._list, 22), (self._about, 22),
        ):  # fmt: skip
            row = QtWidgets.QHBoxLayout()
            row.setContentsMargins(indent, 0, 0, 0)
            row.addWidget(widget)
            layout.addLayout(row)
        self._memory_before = known.memory_gib
        self._memory = QtWidgets.QSpinBox()
        self._memory.setObjectName("nijimi_set_up_memory")
        self._memory.setRange(0, _MOST_GIB)
        self._memory.setSuffix(" GiB")
        self._memory.setSpecialValueText(tr("All there is"))
        self._memory.setValue(round(known.memory_gib or 0))
        self._memory.setToolTip(
            tr("With less, pictures of large models take longer; other programs keep their room.")
        )
        row = QtWidgets.QHBoxLayout()
        row.addWidget(QtWidgets.QLabel(tr("Memory for a model")))
        row.addWidget(self._memory)
        row.addStretch(1)
        layout.addSpacing(8)
        layout.addLayout(row)
        self._eight_bit = QtWidgets.QCheckBox(tr("Quicker, less exact: calculate in eight bits"))
        self._eight_bit.setObjectName("nijimi_set_up_eight_bit")
        self._eight_bit.setChecked(known.eight_bit)
        self._eight_bit.setToolTip(
            tr(
                "For large models, where this machine gains by it; not with less than all memory "
                "on a CPU. Where pictures would come out too different it is left off by itself."
            )
        )
        layout.addWidget(self._eight_bit)
        layout.addStretch(1)
        for button in (self._own, self._mine, self._fetch):
            button.toggled.connect(lambda _: self._follow())
        (self._mine if known.models_folder else self._own).setChecked(True)
        self._fetch.setEnabled(False)

    @property
    def folder(self) -> str:
        """The folder of models that is wanted, or ""."""
        return str(self._folder.text) if self._mine.isChecked() else ""

    @property
    def eight_bit(self) -> bool:
        """Whether large models are to be quicker and less exact."""
        return bool(self._eight_bit.isChecked())

    @property
    def memory_gib(self) -> float | None:
        """What a model's networks may take; None for all there is."""
        # A part of a GiB that somebody wrote by hand stays, unless the field is touched.
        if self._memory.value() == round(self._memory_before or 0):
            return self._memory_before
        return float(self._memory.value()) or None

    @property
    def wanted(self) -> Fetchable | None:
        """The model that is to be downloaded."""
        if not self._fetch.isChecked() or not self._known:
            return None
        return self._known[self._list.currentIndex()]

    def show_models(self, models: Sequence[Fetchable]) -> None:
        self._known = tuple(models)
        self._list.clear()
        for model in self._known:
            size = f", {model.size_bytes / 1e9:.1f} GB" if model.size_bytes else ""
            self._list.addItem(f"{model.title}{size}")
        self._fetch.setEnabled(bool(self._known))
        self._describe()

    def isComplete(self) -> bool:
        return not self._mine.isChecked() or bool(self._folder.text)

    def _follow(self) -> None:
        self._folder.setEnabled(self._mine.isChecked())
        self._list.setEnabled(self._fetch.isChecked())
        self.completeChanged.emit()

    def _describe(self) -> None:
        place = self._list.currentIndex()
        if 0 <= place < len(self._known):
            model = self._known[place]
            self._about.setText(
                tr("Licence: {licence}.", licence=model.licence)
                + f' <a href="{model.page}">{model.page}</a>'
            )


class PicturePage(WorkPage):
    """The first picture, made as proof."""

    def __init__(self) -> None:
        super().__init__(
            "first_picture", tr("A first picture"),
            tr("Made by the backend as it is installed now: then everything works."),
        )  # fmt: skip
        self._picture = QtWidgets.QLabel()
        self._picture.setObjectName("nijimi_first_picture")
        self._picture.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self._picture.setMinimumHeight(_SHOWN_PX)
        self.live = QtWidgets.QCheckBox(tr("Go live when this closes"))
        self.live.setObjectName("nijimi_set_up_live")
        self.live.setChecked(True)
        self.body.insertWidget(3, self._picture)
        self.body.addWidget(self.live)

    def show_picture(self, path: str, seconds: float) -> bool:
        """Whether the file is a picture that can be shown."""
        found = QtGui.QPixmap(path)
        if found.isNull():
            return False
        self._picture.setPixmap(found)
        self.show_done(
            tr("It works."), tr("Loaded and painted in {seconds} s.", seconds=f"{seconds:.1f}")
        )
        return True
