"""What is known of the machine enters; a guide from no backend to a first picture leaves."""

from __future__ import annotations

from typing import Any

from ..model.set_up_choice import Known
from ..qt import QtWidgets
from ..texts import tr
from .set_up_pages import ModelPage, PicturePage, WorkPage
from .set_up_where import WherePage

__all__ = ["SetUpGuide"]

_SIZE_PX = (560, 520)


class SetUpGuide(QtWidgets.QWizard):
    """Four pages at most; Krita may be used beside it. It changes nothing by itself: whoever
    made it hears what its pages ask for, and tells them what has come of it."""

    def __init__(self, known: Known, parent: Any = None) -> None:
        super().__init__(parent)
        self.setObjectName("nijimi_set_up")
        self.setWindowTitle(tr("Set up Nijimi"))
        self.setWizardStyle(QtWidgets.QWizard.WizardStyle.ModernStyle)
        self.setOption(QtWidgets.QWizard.WizardOption.NoBackButtonOnStartPage, True)
        buttons = QtWidgets.QWizard.WizardButton
        for button, text in (
            (buttons.BackButton, "Back"), (buttons.NextButton, "Continue"),
            (buttons.FinishButton, "Finish"), (buttons.CancelButton, "Cancel"),
        ):  # fmt: skip
            self.setButtonText(button, tr(text))
        self.where = WherePage(known)
        self.work = WorkPage(
            "set_up_work", tr("Installing"),
            tr("You can go on painting. If it is stopped, the next time goes on from there."),
        )  # fmt: skip
        self.models = ModelPage(known)
        self.picture = PicturePage()
        self._where_id = self.addPage(self.where)
        self._work_id = self.addPage(self.work)
        self._models_id = self.addPage(self.models)
        self.addPage(self.picture)
        self.where.completeChanged.connect(self._follow_choice)
        self._follow_choice()
        self.resize(*_SIZE_PX)

    @property
    def is_at_models(self) -> bool:
        return bool(self.currentId() == self._models_id)

    def nextId(self) -> int:
        if self.currentId() == self._where_id:
            following = {"here": self._work_id, "as_is": self._models_id, "there": -1}
            return following[self.where.choice]
        return int(super().nextId())

    def _follow_choice(self) -> None:
        """With a backend elsewhere the first page is the last one, too."""
        self.where.setFinalPage(self.where.choice == "there")
