"""A benchmark's name enters; a table, and JSON where it is asked for, leave.

``path``: stroke to frame in real Krita, headless, with the embedded model, several times over.
It paints the demo's sketch with a real pointer, and needs what the demo needs.
``growth``: what a small stroke costs on canvases from 512 to 4096 px.
``parity``: how far our latents are from diffusers' own pipelines, feature by feature; with
``--markdown`` it writes docs/parity.md.
``loading``: time and memory to load checkpoint files of the real size, random weights.
``documents``: two runs of real Krita a seed, one without Nijimi: every layer must be the same.
``fuzz``: hostile bytes for both ends of the protocol, guided by coverage, ten million of them.
``load``: a backend under many clients, difficult ones among them; ``--minutes 240`` is the soak.
``inpaint``: seams and costs of repainting a selection, beside diffusers' own pipeline.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "installer"))

from nijimi_installer.demo import run_demo  # noqa: E402
from nijimi_installer.plugin_install import build_archive  # noqa: E402

ROWS = (
    ("frames a second, pen down", "fps", None),
    ("stroke to frame, ms", "stroke_to_frame_ms", ("p50", "p95", "max")),
    ("of it not the model's, ms", "overhead_ms", ("p50", "p95")),
    ("the same with waiting, ms", "overhead_with_queue_ms", ("p50", "p95")),
    ("waiting for the frame before, ms", "queue_ms", ("p50", "p95")),
    ("the model's, ms", "model_ms", ("p50", "p95")),
    ("our turns on Krita's thread, ms", "ui_stall_ms", ("p50", "p99", "max")),
)

BARS = {("overhead_ms", "p50"): 30.0, ("overhead_ms", "p95"): 60.0, ("ui_stall_ms", "p99"): 8.0}
"""What issue and README promise; more is marked."""


def path(runs: int) -> list[dict[str, Any]]:
    """The demo's reports, one a run."""
    reports: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "nijimi.zip"
        build_archive(Path(sys.executable), archive)
        for n in range(runs):
            print(f"run {n + 1} of {runs}", flush=True)
            reports.append(
                run_demo(
                    Path(sys.executable),
                    archive,
                    folder / "profile",
                    folder / "output",
                    model="",
                    device="auto",
                )
            )
    return reports


def documents(first: int, seeds: int, operations: int) -> list[dict[str, Any]]:
    """Seed after seed, told as they end; every fifth with pictures in a layer of the document."""
    from .document_fuzz import run

    outcomes: list[run.Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(first, first + seeds):
            outcome = run.run_seed(seed, operations, Path(name), preview_layer=seed % 5 == 0)
            outcomes.append(outcome)
            print(run.fuzz_table([outcome]).splitlines()[-1], flush=True)
    print(run.fuzz_table(outcomes))
    return [vars(outcome) for outcome in outcomes]


def table(reports: list[dict[str, Any]]) -> str:
    """The median of each figure over the runs."""
    lines = [f"{reports[0]['device']}, {reports[0]['model']}, {len(reports)} runs, medians"]
    for title, key, parts in ROWS:
        if parts is None:
            lines.append(f"{title:34} {statistics.median(r[key] for r in reports):8.2f}")
            continue
        cells: list[str] = []
        for part in parts:
            value = statistics.median(r[key][part] for r in reports)
            mark = " (!)" if value > BARS.get((key, part), float("inf")) else ""
            cells.append(f"{part} {value:.1f}{mark}")
        lines.append(f"{title:34} {'   '.join(cells)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "name",
        choices=("path", "inpaint", "growth", "parity", "loading", "documents", "fuzz", "load"),
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clients", type=int, default=50, help="for load")
    parser.add_argument("--minutes", type=float, default=2.0, help="for load")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="for fuzz")
    parser.add_argument(
        "--keep-corpus", action="store_true", help="for fuzz: renew the corpus of the tests"
    )
    parser.add_argument("--seeds", type=int, default=20, help="for documents")
    parser.add_argument("--first-seed", type=int, default=1, help="for documents")
    parser.add_argument("--operations", type=int, default=2000, help="for documents")
    parser.add_argument("--model", default="", help="for inpaint; default: the embedded one")
    parser.add_argument(
        "--sd15", action="store_true", help="for inpaint: SD1.5's shapes, random weights, too"
    )
    parser.add_argument("--markdown", type=Path, help="for parity: the page to write")
    parser.add_argument("--pictures", type=Path, help="folder for pictures side by side")
    args = parser.parse_args()
    if args.name == "inpaint":
        from . import inpaint

        found = inpaint.compare(args.model, args.pictures)
        found["composing_ms"] = inpaint.composing_cost_ms(args.model)
        print(inpaint.inpaint_table(found))
        reports = [found]
        if args.sd15:
            reports.append(inpaint.compare("sd15-shaped", args.pictures, cases=3))
            print(inpaint.inpaint_table(reports[-1]))
    elif args.name == "parity":
        from . import parity

        rows = list(parity.measure())
        print(parity.parity_table(rows))
        reports = [vars(row) for row in rows]
        if args.markdown:
            args.markdown.write_text(parity.parity_page(rows), encoding="utf-8")
    elif args.name == "loading":
        from . import loading

        reports = [loading.measure_family(family) for family in ("sd1", "sdxl")]
        print(loading.loading_table(reports))
    elif args.name == "load":
        from . import load

        report = load.measure(args.clients, 60 * args.minutes)
        print(load.load_table(report))
        reports = [vars(report)]
    elif args.name == "fuzz":
        from . import protocol_fuzz

        found_by_target = protocol_fuzz.fuzz(args.inputs, keep=args.keep_corpus)
        print(protocol_fuzz.fuzz_table(found_by_target))
        reports = [vars(one) for one in found_by_target]
    elif args.name == "documents":
        reports = documents(args.first_seed, args.seeds, args.operations)
    elif args.name == "growth":
        from . import growth

        alone, inside = growth.backend_growth(), growth.krita_growth()
        print(growth.growth_table(alone, inside))
        reports = [{"backend": alone, "krita": inside}]
    else:
        reports = path(args.runs)
        print(table(reports))
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
