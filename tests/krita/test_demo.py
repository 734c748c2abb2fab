"""The headless demo, by README's own command: it paints, applies, saves and reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nijimi_installer.demo import REPORT_KEYS

ROOT = Path(__file__).resolve().parents[2]


def test_the_headless_demo_paints_applies_and_reports(tmp_path: Path) -> None:
    report = _demo(tmp_path / "first")
    if not _is_smooth(report):
        # Test machines are shared: what slows us down is there again, what slowed them is not.
        report = _demo(tmp_path / "second")
    assert _is_smooth(report), report


def _is_smooth(report: dict[str, Any]) -> bool:
    """Twice the promised figures: benchmarks are where those are held."""
    return report["overhead_ms"]["p50"] <= 60 and report["ui_stall_ms"]["p99"] <= 16


def _demo(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "installer"), "run", "--headless"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    output = folder / "nijimi-demo"
    names = {"before.png", "after.png", "screenshot.png", "canvas.kra", "report.json"}
    assert names <= {path.name for path in output.iterdir()}
    assert (output / "before.png").read_bytes() != (output / "after.png").read_bytes()
    report = json.loads((output / "report.json").read_text())
    assert set(REPORT_KEYS) <= set(report)
    assert report["final_revision_shown"] is True
    assert report["model"] == "nijimi-mini"
    assert report["frames"] > 10
    return report
