"""The logs of the training steps enter; their curves leave, as one PNG.

``python -m training.curves -o curves.png``: a panel a step, each loss over its steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["draw_curves", "read_log"]

_NO_LOSS = ("step", "samples", "seconds")
Rows = list[dict[str, Any]]


def read_log(path: Path) -> list[Rows]:
    """The runs of one step, in order: where a log begins anew, another one begins."""
    runs: list[Rows] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if not runs or row["step"] <= runs[-1][-1]["step"]:
            runs.append([])
        runs[-1].append(row)
    return runs


def draw_curves(work: Path, output: Path) -> list[str]:
    """A panel for each log of ``work``; the names of those that are shown.

    Raises SystemExit where nothing was trained there.
    """
    logs = {path.stem: runs for path in sorted(work.glob("*.jsonl")) if (runs := _runs(path))}
    if not logs:
        raise SystemExit(f"There is no log of a training step in {work}. Train something first.")
    columns = min(3, len(logs))
    lines = -(-len(logs) // columns)
    figure = Figure(figsize=(5 * columns, 3.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel, (name, runs) in zip(panels.flat, logs.items(), strict=False):
        for n, run in enumerate(runs):
            for loss in (key for key in run[0] if key not in _NO_LOSS):
                steps = [row["step"] for row in run]
                label = loss if len(runs) == 1 else f"{loss}, run {n + 1}"
                panel.plot(steps, [row[loss] for row in run], label=label)
        panel.set_title(name)
        panel.set_xlabel("steps")
        panel.set_yscale("log")
        panel.legend(fontsize="small")
        panel.grid(alpha=0.3)
    for panel in list(panels.flat)[len(logs) :]:
        panel.set_visible(False)
    figure.savefig(output, dpi=90)
    return list(logs)


def _runs(path: Path) -> list[Rows]:
    """None for what is no log of losses: the truths of the data are JSON lines, too."""
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return read_log(path) if first and "samples" in json.loads(first) else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the losses of all steps.")
    parser.add_argument("--work", type=Path, default=Path(".work/training"))
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.png"))
    args = parser.parse_args()
    names = draw_curves(args.work, args.output)
    print(f"wrote {args.output}: {', '.join(names)}")


if __name__ == "__main__":
    main()
