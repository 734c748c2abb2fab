"""The report to hand on: all that helps, nothing that is private."""

from __future__ import annotations

from pathlib import Path

import pytest
from nijimi_backend.cli import main
from nijimi_backend.report import clean

TOKEN = "x9_8sKQm3TtV7Yw2Zb4Nc6Rd1Pf5Hg0Jl-AaBbCcDdE"


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setenv("NIJIMI_LOGS", str(folder))
    return folder


def test_the_report_has_findings_logs_and_the_newest_crash(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path.home()
    (logs / "backend-20260101-000000-1.log").write_text("an older run")
    (logs / "backend-20261121-000000-1.log").write_text(
        '{"time": "t", "level": "info", "where": "w", "text": "frames", "data": {"frames": 7}}\n'
        f"no json: {home}/pictures and {TOKEN}\n"
    )
    (logs / "crash-20261120-000000.txt").write_text("Fatal Python error: Segmentation fault\n")
    (logs / "crash-20261121-000000.txt").write_text("")
    assert main(["doctor", "--report"]) in (0, 1)
    text = capsys.readouterr().out
    assert "What the doctor found" in text
    assert 't info w: frames {"data": {"frames": 7}}' in text
    assert "an older run" not in text
    assert "Segmentation fault" in text
    assert "no json: ~/pictures" in text
    assert TOKEN not in text
    assert str(home) not in text or len(str(home)) == 1


def test_without_logs_the_report_says_so(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--report"])
    text = capsys.readouterr().out
    assert text.count("none") >= 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/home/mei/art/x.png", "~/art/x.png"),
        ("/mnt/users/mei/models", "/mnt/users/USER/models"),
        ("C:\\Users\\mei\\models", "C:\\Users\\USER\\models"),
        ("meine Datei", "meine Datei"),
        (f"token {TOKEN}", "token (struck out)"),
        ("a-plain-name", "a-plain-name"),
    ],
)
def test_what_is_private_is_struck_out(before: str, after: str) -> None:
    assert clean(before, Path("/home/mei"), "mei") == after
