"""Logs are bounded, structured, and silent about what the painter wrote."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from nijimi_protocol import logbook


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIJIMI_LOGS", str(tmp_path / "logs"))
    return tmp_path / "logs"


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("nijimi.test")
    logger.addHandler(handler)
    return logger


def _lines(folder: Path) -> list[dict[str, object]]:
    path = next(folder.glob("krita-*.log"))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_an_object_with_its_data(folder: Path) -> None:
    handler = logbook.open_logbook("krita")
    _logger(handler).info("frames", extra={"data": {"count": 3}})
    handler.close()
    (line,) = _lines(folder)
    assert line["text"] == "frames"
    assert line["level"] == "info"
    assert line["data"] == {"count": 3}
    assert str(line["time"]).endswith("Z")


@pytest.mark.parametrize("with_words", [False, True])
def test_the_words_of_an_exception_are_kept_only_when_asked(folder: Path, with_words: bool) -> None:
    handler = logbook.open_logbook("krita", with_words=with_words)
    try:
        raise ValueError("no embedding named my-secret-wish")
    except ValueError:
        _logger(handler).exception("rendering failed")
    handler.close()
    (line,) = _lines(folder)
    assert line["error"] == "ValueError"
    assert "test_logbook.py" in str(line["trace"])
    assert ("my-secret-wish" in json.dumps(line)) is with_words


def test_logs_of_older_runs_go_and_a_long_run_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "_MAX_BYTES", 2000)
    folder.mkdir()
    for n in range(9):
        (folder / f"krita-2020010{n}-000000-1.log").write_text("old")
    (folder / "backend-20200101-000000-1.log").write_text("another kind")
    handler = logbook.open_logbook("krita")
    for _ in range(400):
        _logger(handler).info("a line of some length, again and again")
    handler.close()
    kept = logbook.newest_logs("krita")
    assert len(kept) == 5
    assert [path.name[:14] for path in kept[1:]] == [f"krita-2020010{n}" for n in (8, 7, 6, 5)]
    assert (
        sum(path.stat().st_size for path in folder.glob("krita-2026*")) < 3 * 2000
        or len(list(folder.glob("krita-*.log.*"))) == 1
    )
    assert (folder / "backend-20200101-000000-1.log").exists()


def test_a_folder_that_cannot_be_written_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NIJIMI_LOGS", str(tmp_path / "file" / "logs"))
    handler = logbook.open_logbook("krita")
    _logger(handler).info("into the void")
    assert isinstance(handler, logging.NullHandler)
    assert logbook.newest_logs("krita") == []


def test_a_disk_that_fills_up_disturbs_nobody(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    handler = logbook.open_logbook("krita")
    assert isinstance(handler, logging.FileHandler)
    handler.baseFilename = "/dev/full"
    _logger(handler).info("no room for this")
    assert capsys.readouterr().err == ""
