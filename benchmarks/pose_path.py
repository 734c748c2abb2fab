"""Held-out skeletons enter; how well pictures follow them leaves, through Krita and without it.

Each skeleton becomes a pose layer of a new document in real Krita, and the picture in the docker
is judged by the judge of ``training`` (PCK@0.1). The same skeletons, words and seeds go to the
engine by themselves: what is between the two is lost on the way.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.picture_renderer import PictureRenderer
from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess
from nijimi_protocol.openpose import openpose_text
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image

from training.judge import Truth, as_input, load_judge, pck, read_truth
from training.train_control import SIZE, Hints

from .painting import NIJIMI_STEPS, krita_with_docker

__all__ = ["measure_pose", "pose_table"]

_STEPS, _INSIDE = DRIVER_DIR / "steps.py", Path(__file__).with_name("pose_inside.py")
_SAMPLING_STEPS = 4
Pixels = npt.NDArray[np.uint8]


def measure_pose(work: Path, count: int) -> dict[str, Any]:
    """PCK@0.1 of ``count`` held-out people: ``engine``, ``krita``, and ``without`` a pose."""
    truth, judge = read_truth(work, "held_out"), load_judge(work)
    hints = Hints("pose", work, "held_out")
    rows = [n for n in range(len(truth)) if truth.has_joints[n]][:count]

    def judged(pictures: list[Pixels]) -> float:
        with torch.inference_mode():
            joints = judge(as_input(np.stack(pictures)))["joints"]
        return round(float(pck(joints, truth.joints[rows]).mean()), 3)

    through = _through_krita(truth, hints, rows)
    engine = open_engine("")
    return {
        "people": len(rows),
        "krita": judged(through),
        "engine": judged(_by_engine(engine, truth, hints, rows)),
        "without": judged(_by_engine(engine, truth, None, rows)),
        "real_pictures": judged([np.asarray(truth.pictures[row]) for row in rows]),
    }


def _by_engine(engine: Engine, truth: Truth, hints: Hints | None, rows: list[int]) -> list[Pixels]:
    renderer = PictureRenderer(engine)
    return [
        renderer.render(
            RenderParams(
                prompt=truth.captions[row][0],
                mode=RenderMode.TXT2IMG,
                num_inference_steps=_SAMPLING_STEPS,
                seed=row,
            ),
            controls=(hints.control(row),) if hints else (),
        ).values
        for row in rows
    ]


def _through_krita(truth: Truth, hints: Hints, rows: list[int]) -> list[Pixels]:
    """At strength 1 nothing is left of the empty canvas."""
    made: list[Pixels] = []
    with tempfile.TemporaryDirectory() as name, krita_with_docker() as krita:
        krita.call(NIJIMI_STEPS, "set_values", refine=False, strength=1.0)
        krita.call(NIJIMI_STEPS, "set_values", num_inference_steps=_SAMPLING_STEPS)
        for row in rows:
            file = Path(name) / f"{row}.json"
            file.write_text(openpose_text(hints.control(row).people, SIZE))
            made.append(_picture(krita, file, truth.captions[row][0], row))
            print(f"{len(made)} of {len(rows)}", flush=True)
    return made


def _picture(krita: KritaProcess, file: Path, prompt: str, seed: int) -> Pixels:
    krita.call(NIJIMI_STEPS, "set_values", live=False)
    krita.call(_STEPS, "close_documents")
    krita.call(_STEPS, "new_document", width=SIZE.width, height=SIZE.height)
    krita.call(NIJIMI_STEPS, "set_values", prompt=prompt, seed=seed)
    kinds = krita.call(_INSIDE, "add_pose", path=str(file))
    assert kinds == ["pose"], kinds
    krita.call(NIJIMI_STEPS, "set_values", live=True)
    krita.call(NIJIMI_STEPS, "wait_until_ready", timeout_s=120)
    krita.call(NIJIMI_STEPS, "wait_until_shown", timeout_s=60)
    picture = file.with_suffix(".png")
    krita.call(_INSIDE, "save_picture", path=str(picture))
    with Image.open(picture) as image:
        shown = np.asarray(image.convert("RGB"))
    assert shown.shape == (SIZE.height, SIZE.width, 3), shown.shape
    return shown


def pose_table(report: dict[str, Any]) -> str:
    """One line: every way's share."""
    lost = 100 * (report["engine"] - report["krita"])
    return (
        f"PCK@0.1 of {report['people']} held-out people: {report['krita']:.1%} through Krita, "
        f"{report['engine']:.1%} by the engine alone ({lost:+.1f} points lost on the way, bar 3), "
        f"{report['without']:.1%} without the pose, {report['real_pictures']:.1%} on real pictures"
    )
