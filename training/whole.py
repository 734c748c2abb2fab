"""A number of minutes enters; data, all networks, the exported model and its measures leave.

``python -m training.whole --minutes 25 --batch 256 --threads 16`` runs every step of the README in
order, each for its share of the minutes. What a step needs beside (rendering, encoding, measuring)
comes on top. Interrupted, it goes on: each step resumes from its own checkpoint, and a step that
was finished is not begun again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .workspace import arguments

__all__ = ["STEPS", "Step", "command_of"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """``share``: part of all minutes; 0 for steps that end by themselves. ``batch``: of 1."""

    module: str
    options: tuple[str, ...] = ()
    share: float = 0.0
    batch: float = 1.0

    @property
    def name(self) -> str:
        return " ".join((self.module, *self.options))


STEPS = (
    Step(module="build_data"),
    Step(module="train_autoencoder", share=0.12, batch=0.5),
    Step(module="encode_latents"),
    Step(module="train_base", share=0.41),
    Step(module="guide", share=0.04),
    Step(module="distill_lcm", share=0.15, batch=0.5),
    Step(module="train_control", options=("--kind", "pose"), share=0.12, batch=0.5),
    Step(module="train_control", options=("--kind", "scribble"), share=0.08, batch=0.5),
    Step(module="judge", share=0.08),
    Step(module="export"),
)
"""The base gets most: what it cannot draw, nothing that is built on it can."""


def command_of(
    step: Step, *, work: Path, minutes: float, batch: int, threads: int, seed: int
) -> list[str]:
    """The step's own command line."""
    made = [sys.executable, "-m", f"training.{step.module}", *step.options, "--work", str(work)]
    made += ["--threads", str(threads), "--seed", str(seed)]
    if step.share:
        made += ["--minutes", f"{minutes * step.share:.2f}"]
        made += ["--batch", str(max(4, round(batch * step.batch)))]
    return made


def main() -> None:
    parser = arguments("Train everything, export it and measure it.", 240)
    parser.add_argument("--count", type=int, default=20_000, help="of pictures to learn from")
    parser.add_argument("--held-out", type=int, default=1_000)
    parser.add_argument("--output", type=Path, help="the model's folder, else in the work folder")
    options = parser.parse_args()
    work, output = options.work, options.output or options.work / "nijimi-mini"
    work.mkdir(parents=True, exist_ok=True)
    done_path = work / "whole.json"
    done: list[str] = json.loads(done_path.read_text()) if done_path.exists() else []
    counts = ["--count", str(options.count), "--held-out", str(options.held_out)]
    more = {"build_data": counts, "export": ["--output", str(output)]}
    for n, step in enumerate(STEPS, 1):
        if step.name in done:
            print(f"{n} of {len(STEPS)}: {step.name} was done before", flush=True)
            continue
        print(f"{n} of {len(STEPS)}: {step.name}", flush=True)
        began = time.monotonic()
        command = command_of(
            step, work=work, minutes=options.minutes, batch=options.batch,
            threads=options.threads, seed=options.seed,
        )  # fmt: skip
        subprocess.run([*command, *more.get(step.module, ())], check=True)
        done.append(step.name)
        done_path.write_text(json.dumps(done))
        print(f"{step.name}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    evaluate = [sys.executable, "-m", "training.evaluate", "--work", str(work)]
    subprocess.run(
        [*evaluate, "--model", str(output), "--json", str(work / "evaluate.json")], check=True
    )


if __name__ == "__main__":
    main()
