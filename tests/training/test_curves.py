"""Curves of what was logged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="matplotlib is not installed here")

from training.curves import draw_curves, read_log
from training.workspace import Log


def test_what_a_step_logged_is_drawn(tmp_path: Path) -> None:
    for name in ("base", "lcm"):
        log = Log(tmp_path, name, 1.0)
        for step in range(1, 5):
            log.add(step, 16 * step, every=1, loss=1.0 / step, subject_error=2.0 / step)
    (tmp_path / "held_out.jsonl").write_text('{"seed": 1, "captions": []}\n')
    output = tmp_path / "curves.png"
    assert draw_curves(tmp_path, output) == ["base", "lcm"]
    with Image.open(output) as image:
        assert image.width > image.height
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_a_log_that_begins_anew_is_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "base.jsonl"
    steps = (50, 100, 50, 100, 150)
    path.write_text("".join(json.dumps({"step": n, "samples": n, "loss": 1.0}) + "\n"
                            for n in steps))  # fmt: skip
    assert [len(run) for run in read_log(path)] == [2, 3]


def test_a_folder_without_logs_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Train something first"):
        draw_curves(tmp_path, tmp_path / "curves.png")
