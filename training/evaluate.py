"""An exported model and held-out examples enter; a table of what it can do leaves.

``python -m training.evaluate [--json FILE]``. Pictures come from the same engine as the program's;
the judge was trained on rendered pictures only, and its own accuracy on held-out ones is told.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from diffusers import StableDiffusionPipeline
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.request import Control
from nijimi_backend.engine.stages import decode_latents, encode_canvas
from nijimi_backend.models.controls import list_controls
from nijimi_backend.picture_files import PictureFile
from nijimi_backend.picture_renderer import PictureRenderer
from nijimi_protocol.inpaint import InpaintMode, InpaintParams
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image

from .edges import canny_edges
from .export import EMBEDDED
from .judge import (
    CLASSES,
    COLOURS,
    Judge,
    Truth,
    as_input,
    landscapes,
    load_judge,
    pck,
    read_truth,
    score,
)
from .scenes.subjects import SUBJECTS
from .train_control import Hints

Pixels = npt.NDArray[np.uint8]

BARS = {
    "autoencoder_psnr_db": (27.0, "at least"),
    "subject_4_steps": (0.75, "at least"),
    "subject_2_steps": (0.65, "at least"),
    "subject_1_step": (0.50, "at least"),
    "colour_4_steps": (0.75, "at least"),
    "frechet_ratio": (1.5, "at most"),
    "sketch_subject": (0.70, "at least"),
    "sketch_layout_correlation": (0.80, "at least"),
    "inpaint_subject": (0.65, "at least"),
    "pose_pck_with": (0.85, "at least"),
    "pose_pck_without": (0.40, "at most"),
    "scribble_f1_with": (0.60, "at least"),
    "scribble_f1_without": (0.30, "at most"),
    "frame_with_control_ms_p50": (350.0, "at most"),
    "frame_4_steps_ms_p50": (250.0, "at most"),
    "memory_mb": (1200.0, "at most"),
}
"""What issue and model card ask for."""


class Examiner:
    """Renders with the engine and asks the judge."""

    def __init__(self, engine: Engine, judge: Judge) -> None:
        self.judge = judge
        self.times_ms: list[float] = []
        self._renderer = PictureRenderer(engine)

    def render(
        self,
        params: RenderParams,
        canvas: Pixels | None = None,
        mask: Pixels | None = None,
        controls: tuple[Control, ...] = (),
    ) -> Pixels:
        """RGB, 256 x 256 x 3; an inpainted layer lies on its canvas."""
        source = PictureFile(values=canvas) if canvas is not None else None
        made = self._renderer.render(params, source, mask, controls=controls)
        assert self._renderer.last is not None
        self.times_ms.append(self._renderer.last.model_ms)
        return made.values

    def ask(self, pictures: list[Pixels]) -> dict[str, torch.Tensor]:
        """What the judge sees, for all of them."""
        found: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for start in range(0, len(pictures), 64):
                batch = as_input(np.stack(pictures[start : start + 64]))
                for name, value in self.judge(batch).items():
                    found.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in found.items()}


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal to noise ratio in dB over all channels."""
    difference = a.astype(np.float64) - b
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(difference**2)))))


def coarse(pixels: Pixels) -> npt.NDArray[np.float64]:
    """The colour layout: 16 x 16 means, as one vector."""
    small = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).resize(
        (16, 16), Image.Resampling.BOX
    )
    return np.asarray(small, dtype=np.float64).ravel()


def frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """Fréchet distance of two sets of features as Gaussians (Heusel et al., arXiv 1706.08500)."""
    a, b = a.double(), b.double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    one, two = torch.cov(a.T), torch.cov(b.T)
    # tr((one two)^(1/2)) from the eigenvalues, which are those of a positive matrix.
    values = torch.linalg.eigvals(one @ two).real.clamp(min=0.0)
    return float(means + one.trace() + two.trace() - 2 * values.sqrt().sum())


def share(hits: torch.Tensor) -> float:
    return round(float(hits.float().mean()), 3) if len(hits) else 0.0


def base_pictures(model: Path, captions: list[str]) -> list[Pixels]:
    """Thirty steps of the base, without the LCM-LoRA, with guidance 2."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        model, local_files_only=True, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    made: list[Pixels] = []
    for n, caption in enumerate(captions):
        image = pipeline(
            caption, num_inference_steps=30, guidance_scale=2.0, height=256, width=256,
            generator=torch.Generator().manual_seed(n),
        ).images[0]  # fmt: skip
        made.append(np.asarray(image.convert("RGB")))
    return made


def examine(examiner: Examiner, truth: Truth, rows: list[int], model: Path) -> dict[str, Any]:
    """Every measure on the examples of ``rows``."""
    subject, colour = truth.subject[rows], truth.colour[rows]
    captions = [truth.captions[row][0] for row in rows]
    result: dict[str, Any] = {"examples": len(rows)}
    for steps, name in ((1, "1_step"), (2, "2_steps"), (4, "4_steps")):
        made = [
            examiner.render(
                RenderParams(
                    prompt=caption, mode=RenderMode.TXT2IMG, num_inference_steps=steps, seed=n
                )
            )
            for n, caption in enumerate(captions)
        ]
        seen = examiner.ask(made)
        result[f"subject_{name}"] = share(seen["subject"].argmax(1) == subject)
        result[f"colour_{name}"] = share((seen["colour"].argmax(1) == colour)[colour >= 0])
    few = seen["features"]
    real = examiner.ask([np.asarray(truth.pictures[row]) for row in rows])["features"]
    base = examiner.ask(base_pictures(model, captions))["features"]
    result["frechet_4_steps"] = round(frechet(few, real), 2)
    result["frechet_base_30_steps"] = round(frechet(base, real), 2)
    result["frechet_ratio"] = round(frechet(few, real) / max(1e-9, frechet(base, real)), 3)
    return result


def examine_sketches(examiner: Examiner, truth: Truth, rows: list[int]) -> dict[str, Any]:
    """Flat coloured blobs to pictures, at strength 0.6."""
    made, layout = [], []
    for n, row in enumerate(rows):
        sketch = np.asarray(truth.sketches[row])
        params = RenderParams(
            prompt=truth.captions[row][0], strength=0.6, num_inference_steps=4, seed=n
        )
        made.append(examiner.render(params, sketch))
        layout.append(float(np.corrcoef(coarse(made[-1]), coarse(sketch))[0, 1]))
    seen, blobs = examiner.ask(made), examiner.ask([np.asarray(truth.sketches[r]) for r in rows])
    return {
        "sketch_subject": share(seen["subject"].argmax(1) == truth.subject[rows]),
        "sketch_subject_in_the_sketch_itself": share(
            blobs["subject"].argmax(1) == truth.subject[rows]
        ),
        "sketch_layout_correlation": round(float(np.mean(layout)), 3),
    }


def examine_inpaint(examiner: Examiner, truth: Truth, count: int) -> dict[str, Any]:
    """Subjects asked for inside a large disc on held-out landscapes."""
    empty = landscapes(truth)
    rows, columns = np.mgrid[0:256, 0:256]
    mask = ((np.hypot(rows - 140, columns - 128) < 92) * 255).astype(np.uint8)
    rng = random.Random(5)
    names = [rng.choice(tuple(SUBJECTS)) for _ in range(count)]
    made = [
        examiner.render(
            RenderParams(
                prompt=f"a {name}",
                mode=RenderMode.INPAINT,
                num_inference_steps=4,
                seed=n,
                inpaint=InpaintParams(mode=InpaintMode.FILL),
            ),
            np.asarray(truth.pictures[empty[n % len(empty)]]),
            mask,
        )
        for n, name in enumerate(names)
    ]
    asked = torch.tensor([CLASSES.index(name) for name in names])
    return {"inpaint_subject": share(examiner.ask(made)["subject"].argmax(1) == asked)}


def has_control(engine: Engine, kind: str) -> bool:
    """Whether the model brings that ControlNet."""
    return any(kind in info.kinds for info in list_controls(engine.model))


def examine_pose(examiner: Examiner, truth: Truth, hints: Hints, count: int) -> dict[str, Any]:
    """Joints that the judge finds against those that were asked for, with the pose and without."""
    rows = [n for n in range(len(truth)) if truth.has_joints[n]][:count]
    asked = truth.joints[rows]
    found: dict[str, float] = {}
    for name, is_led in (("with", True), ("without", False)):
        made = [
            examiner.render(_from_nothing(truth, row), controls=(hints.control(row),) * is_led)
            for row in rows
        ]
        found[f"pose_pck_{name}"] = round(float(pck(examiner.ask(made)["joints"], asked).mean()), 3)
    return found


def examine_scribble(examiner: Examiner, truth: Truth, hints: Hints, count: int) -> dict[str, Any]:
    """Edges of what was drawn against edges of what came, with the scribble and without."""
    rows = list(range(count))
    found: dict[str, float] = {}
    for name, is_led in (("with", True), ("without", False)):
        scores: list[float] = []
        for row in rows:
            made = examiner.render(
                _from_nothing(truth, row), controls=(hints.control(row),) * is_led
            )
            scores.append(edge_f1(made, np.asarray(truth.pictures[row])))
        found[f"scribble_f1_{name}"] = round(float(np.mean(scores)), 3)
    return found


def _from_nothing(truth: Truth, row: int) -> RenderParams:
    return RenderParams(
        prompt=truth.captions[row][0], mode=RenderMode.TXT2IMG, num_inference_steps=4, seed=row
    )


def edge_f1(made: Pixels, asked: Pixels, tolerance_px: int = 2) -> float:
    """How well Canny's edges of two pictures agree within ``tolerance_px``."""
    one, other = canny_edges(np.stack([made, asked]))[:, 0].byte().numpy()
    kernel = np.ones((2 * tolerance_px + 1,) * 2, np.uint8)
    near_one, near_other = cv2.dilate(one, kernel), cv2.dilate(other, kernel)
    precision = float((near_other[one > 0] > 0).mean()) if one.any() else 0.0
    recall = float((near_one[other > 0] > 0).mean()) if other.any() else 0.0
    return 2 * precision * recall / max(1e-9, precision + recall)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an exported model.")
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--work", type=Path, default=Path(".work/training"))
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    truth, judge = read_truth(args.work, "held_out"), load_judge(args.work)
    engine = open_engine(str(args.model.resolve()))
    examiner = Examiner(engine, judge)
    rows = [n for n in range(len(truth)) if truth.subject[n] >= 0][: args.count]
    result: dict[str, Any] = {
        "device": engine.device,
        "classes": len(CLASSES),
        "colours": len(COLOURS),
    }
    bundle = engine._bundle  # pyright: ignore[reportPrivateUsage]
    kept: list[float] = []
    for row in rows[:60]:
        picture = np.asarray(truth.pictures[row])
        with torch.inference_mode():
            again = decode_latents(bundle, encode_canvas(bundle, picture))
        kept.append(psnr(again[..., 2::-1], picture))
    result["autoencoder_psnr_db"] = round(float(np.mean(kept)), 2)
    result |= examine_sketches(examiner, truth, rows)
    result["frame_4_steps_ms_p50"] = round(float(np.median(examiner.times_ms)), 1)
    result |= examine_inpaint(examiner, truth, args.count // 2)
    for kind, examine_kind in (("pose", examine_pose), ("scribble", examine_scribble)):
        if has_control(engine, kind):
            examiner.times_ms.clear()
            hints = Hints(kind, args.work, "held_out")
            result |= examine_kind(examiner, truth, hints, args.count // 2)
            led = examiner.times_ms[: len(examiner.times_ms) // 2]
            result["frame_with_control_ms_p50"] = round(float(np.median(led)), 1)
    # Before the base is loaded beside it: this is the program's own memory, and the judge's.
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    result["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
    own = score(judge, truth, torch.device("cpu"))
    result["judge_on_real_pictures"] = {name: round(value, 3) for name, value in own.items()}
    result |= examine(examiner, truth, rows, args.model)
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def table(result: dict[str, Any]) -> str:
    """Every measure, with its bar and whether it is met."""
    lines: list[str] = []
    for name, value in result.items():
        line = f"{name:38} {value}"
        if name in BARS:
            bar, how = BARS[name]
            met = value >= bar if how == "at least" else value <= bar
            line += f"   ({how} {bar}: {'met' if met else 'not met'})"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
