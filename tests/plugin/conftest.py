"""The plugin's rooms without Krita: Qt offscreen, one application, no Qt warning unnoticed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["NIJIMI_LANGUAGE"] = "en"
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "krita_plugin"))

from nijimi.qt import QtCore, QtWidgets


@pytest.fixture(scope="session")
def application() -> Any:
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture(autouse=True)
def no_qt_warnings(application: Any) -> Iterator[None]:
    told: list[str] = []
    previous = QtCore.qInstallMessageHandler(lambda _kind, _context, text: told.append(text))
    yield
    QtCore.qInstallMessageHandler(previous)
    # The offscreen platform has no such things; every other warning is ours.
    lacking = ("propagateSizeHints", "does not support raise()")
    assert [text for text in told if not any(words in text for words in lacking)] == []


@pytest.fixture
def wait(application: Any) -> Callable[..., None]:
    """Run Qt's events until something is true."""

    def until(predicate: Callable[[], bool], timeout_s: float = 15.0) -> None:
        end = time.monotonic() + timeout_s
        while not predicate():
            assert time.monotonic() < end, "it never came true"
            application.processEvents()
            time.sleep(0.002)

    return until


@pytest.fixture
def world(application: Any) -> Any:
    """A flow with live on, and documents and a backend that stand in."""
    from .flow_world import World

    return World()


@pytest.fixture
def make_contents(
    application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Any]]:
    """Makes a docker's contents over stand-in documents, with nothing installed; ended after the
    test."""
    from nijimi.contents import Contents

    from .flow_world import Canvas

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NIJIMI_CONFIG", str(tmp_path / "none.json"))
    made: list[Contents] = []

    def make() -> Contents:
        made.append(Contents(Canvas().room()))
        return made[-1]

    yield make
    for contents in made:
        contents.end()
        contents.widget.deleteLater()
