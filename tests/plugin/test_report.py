"""The report: what is installed and what is wrong, and nothing that is private."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nijimi.link.doctor_run import DoctorRun
from nijimi.model.live_state import LiveState
from nijimi.model.report import own_report
from nijimi.model.settings import Settings
from nijimi.qt import QtWidgets
from nijimi.ui.report_dialog import ReportDialog


def _doctor(application: Any, command: list[str], wait: Callable[..., None]) -> str:
    told: list[str] = []
    run = DoctorRun(command)
    run.told.connect(told.append)
    run.start()
    wait(lambda: bool(told), 20)
    return told[0]


def test_what_is_told_of_the_plugin_is_not_private(application: Any) -> None:
    settings, state = Settings(), LiveState()
    settings.set("prompt", "my secret garden")
    settings.set("model", "/home/me/models/mine")
    state.update(state="ready", device="CPU, 2 threads", frame_ms=120.0, fps=4.0)
    state.tell("canvas", "The file /home/me/picture.kra cannot be read.", "")
    text = own_report(state, settings, "5.2.9")
    assert "Krita: 5.2.9" in text
    assert "Device: CPU, 2 threads" in text
    assert "A frame: 120 ms, 4.0 a second" in text
    assert "garden" not in text
    assert "/home" not in text


def test_the_doctor_of_the_installed_backend_is_asked(
    application: Any, tmp_path: Path, wait: Callable[..., None]
) -> None:
    script = tmp_path / "backend.py"
    script.write_text("import sys; print('found', sys.argv[1:])")
    command = [sys.executable, str(script), "serve", "--model", "x"]
    assert _doctor(application, command, wait) == "found ['doctor', '--report']"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "No backend is installed"),
        (["/nowhere/python", "serve"], "/nowhere/python is not there"),
        ([sys.executable, "-c", "", "serve"], "said nothing"),
        ([sys.executable, "-c", "import sys; sys.exit('broken')", "serve"], "broken"),
    ],
)
def test_a_doctor_that_cannot_be_asked_is_told(
    application: Any, command: list[str], words: str, wait: Callable[..., None]
) -> None:
    assert words in _doctor(application, command, wait)


def test_the_page_is_filled_and_copied(application: Any) -> None:
    page = ReportDialog("Krita: 5.2.9")
    text = page.findChild(QtWidgets.QPlainTextEdit, "nijimi_report_text")
    assert "Looking at the backend" in text.toPlainText()
    page.show_doctor("torch: 2.13.0")
    page.findChild(QtWidgets.QPushButton, "nijimi_report_copy").click()
    assert QtWidgets.QApplication.clipboard().text() == "Krita: 5.2.9\n\ntorch: 2.13.0"
    assert text.isReadOnly()
