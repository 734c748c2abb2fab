"""A benchmark's name enters; a table, and JSON where it is asked for, leave.

``python -m benchmarks NAME --help`` says what each takes; the long ones are not part of the tests.
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

Reports = list[dict[str, Any]]

ROWS = (
    ("frames a second, pen down", "fps", None),
    ("stroke to frame, ms", "stroke_to_frame_ms", ("p50", "p95", "max")),
    ("of it not the model's, ms", "overhead_ms", ("p50", "p95")),
    ("the same with waiting, ms", "overhead_with_queue_ms", ("p50", "p95")),
    ("waiting for the frame before, ms", "queue_ms", ("p50", "p95")),
    ("the model's, ms", "model_ms", ("p50", "p95")),
    ("our turns on Krita's thread, ms", "ui_stall_ms", ("p50", "p99", "max")),
)

SHAPES = ("nijimi-mini", "bk-sdm-tiny", "sd15", "sd-turbo", "sdxl")
"""Of `benchmarks.engine_shapes`, which imports torch."""

BARS = {("overhead_ms", "p50"): 30.0, ("overhead_ms", "p95"): 60.0, ("ui_stall_ms", "p99"): 8.0}
"""What issue and README promise; more is marked."""


def _path(args: argparse.Namespace) -> Reports:
    """The demo's reports, one a run."""
    reports: Reports = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "nijimi.zip"
        build_archive(Path(sys.executable), archive)
        for n in range(args.runs):
            print(f"run {n + 1} of {args.runs}", flush=True)
            python, profile, output = Path(sys.executable), folder / "profile", folder / "output"
            reports.append(run_demo(python, archive, profile, output, model="", device="auto"))
    print(table(reports))
    return reports


def _stages(args: argparse.Namespace) -> Reports:
    from . import path

    rows = path.measure_path(tuple(args.sides), args.dabs)
    print(path.path_table(rows))
    return rows


def table(reports: Reports) -> str:
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


def _growth(args: argparse.Namespace) -> Reports:
    from . import growth, growth_backend

    alone: Reports = []
    for row in growth_backend.backend_growth():
        alone.append(row)
        print(growth_backend.backend_table(alone[-1:]), flush=True)
    print(growth_backend.backend_table(alone))
    inside = growth.krita_growth()
    print(growth.krita_table(inside))
    return [{"backend": alone, "krita": inside}]


def _inpaint(args: argparse.Namespace) -> Reports:
    from . import inpaint

    found = inpaint.compare(args.model, args.pictures)
    found["composing_ms"] = inpaint.composing_cost_ms(args.model)
    print(inpaint.inpaint_table(found))
    reports = [found]
    if args.sd15:
        reports.append(inpaint.compare("sd15-shaped", args.pictures, cases=3))
        print(inpaint.inpaint_table(reports[-1]))
    return reports


def _parity(args: argparse.Namespace) -> Reports:
    from . import parity, parity_flow

    rows = [*parity.measure(), *parity_flow.flow_rows()]
    print(parity.parity_table(rows))
    if args.markdown:
        args.markdown.write_text(parity.parity_page(rows), encoding="utf-8")
    return [vars(row) for row in rows]


def _engine(args: argparse.Namespace) -> Reports:
    from . import engine

    rows: Reports = []
    for row in engine.measure_engine(
        tuple(args.models), tuple(args.steps), args.rounds, control=args.control,
        full_vae=args.full_vae, compiles=args.compile, apart=args.apart,
    ):  # fmt: skip
        rows.append(row)
        print(engine.engine_table([row]), flush=True)
        _write(args.json, rows)
    return rows


def _together(args: argparse.Namespace) -> Reports:
    from . import together

    report = together.measure_together(args.model, args.clients, args.steps, args.seconds)
    print(together.together_table(report))
    return [report]


def _steady(args: argparse.Namespace) -> Reports:
    from . import steady

    report = steady.measure_steady(args.minutes)
    print(steady.steady_table(report))
    return [report]


def _drags(args: argparse.Namespace) -> Reports:
    from . import drags

    report = drags.measure_drags(args.count)
    print(drags.drags_table(report))
    return [report]


def _pose(args: argparse.Namespace) -> Reports:
    from . import pose_path

    report = pose_path.measure_pose(args.work, args.count)
    print(pose_path.pose_table(report))
    return [report]


def _loading(args: argparse.Namespace) -> Reports:
    from . import loading

    reports = [loading.measure_family(family, args.dtype) for family in args.families]
    print(loading.loading_table(reports))
    return reports


def _documents(args: argparse.Namespace) -> Reports:
    from .document_fuzz import run

    outcomes: list[run.Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            outcome = run.run_seed(seed, args.operations, Path(name), preview_layer=seed % 5 == 0)
            outcomes.append(outcome)
            print(run.fuzz_table([outcome]).splitlines()[-1], flush=True)
            # After each one: hours of runs outlive what ends the last of them.
            _write(args.json, [vars(one) for one in outcomes])
    print(run.fuzz_table(outcomes))
    return [vars(outcome) for outcome in outcomes]


def _fuzz(args: argparse.Namespace) -> Reports:
    from . import protocol_fuzz

    outcomes = protocol_fuzz.fuzz(args.inputs, keep=args.keep_corpus)
    print(protocol_fuzz.fuzz_table(outcomes))
    return [vars(outcome) for outcome in outcomes]


def _load(args: argparse.Namespace) -> Reports:
    from . import load

    report = load.measure(args.clients, 60 * args.minutes, args.pace)
    print(load.load_table(report))
    return [vars(report)]


def _switches(args: argparse.Namespace) -> Reports:
    from . import switches

    report = switches.measure(args.count, full_size=args.full_size)
    print(switches.switch_table(report))
    return [vars(report)]


def _reliability(args: argparse.Namespace) -> Reports:
    from . import reliability

    rows = [*reliability.FAULTS, *reliability.ATTACKS]
    if args.again:
        verdicts = reliability.run_again(rows, args.again.read_text(encoding="utf-8"))
    else:
        verdicts = reliability.run_rows(rows)
    page = reliability.reliability_page(args.results, verdicts)
    print(page)
    if args.markdown:
        args.markdown.write_text(page, encoding="utf-8")
    return [verdicts]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    names = parser.add_subparsers(dest="name", required=True)

    def add(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        one = names.add_parser(name, help=help, description=help)
        one.add_argument("--json", type=Path, help="write the figures there")
        one.set_defaults(run=run)
        return one

    path = add("path", _path, "stroke to frame in real Krita, headless, with the embedded model")
    path.add_argument("--runs", type=int, default=3)
    stages = add("stages", _stages, "a dab's way to its picture, by stage, beside today's design")
    stages.add_argument("--sides", nargs="+", type=int, default=(512, 1024, 2048, 4096))
    stages.add_argument("--dabs", type=int, default=30)
    add(
        "growth", _growth, "what a stroke costs as canvas, stroke, clients, LoRAs and controls grow"
    )
    inpaint = add("inpaint", _inpaint, "seams and costs of a repainted selection, beside diffusers")
    inpaint.add_argument("--model", default="", help="default: the embedded one")
    inpaint.add_argument("--sd15", action="store_true", help="SD1.5's shapes, random weights, too")
    inpaint.add_argument("--pictures", type=Path, help="folder for pictures side by side")
    parity = add("parity", _parity, "how far our latents are from diffusers' own pipelines")
    parity.add_argument("--markdown", type=Path, help="the page to write")
    engine = add("engine", _engine, "a live frame of real shapes, beside other ways")
    engine.add_argument("--models", nargs="+", choices=SHAPES, default=SHAPES[:4])
    engine.add_argument("--steps", nargs="+", type=int, default=(1, 2, 4))
    engine.add_argument("--rounds", type=int, default=3)
    engine.add_argument("--control", action="store_true", help="with a scribble ControlNet")
    engine.add_argument("--full-vae", action="store_true", help="not TAESD's shape")
    engine.add_argument("--compile", action="store_true", help="diffusers with torch.compile, too")
    engine.add_argument("--apart", action="store_true", help="and in a process of its own")
    together = add("together", _together, "clients that paint at once, alone and in company")
    together.add_argument("--model", choices=SHAPES, default="sd15")
    together.add_argument("--clients", type=int, default=8)
    together.add_argument("--steps", type=int, default=4)
    together.add_argument("--seconds", type=float, default=20.0)
    steady = add("steady", _steady, "strokes in real Krita for long: does anything grow or slow?")
    steady.add_argument("--minutes", type=float, default=30.0)
    drags = add("drags", _drags, "a joint dragged in real Krita: what it costs Krita's thread")
    drags.add_argument("--count", type=int, default=20)
    pose = add("pose", _pose, "held-out skeletons, from a layer of Krita to the picture")
    pose.add_argument("--count", type=int, default=75)
    pose.add_argument("--work", type=Path, default=Path(".work/training"), help="of the training")
    loading = add("loading", _loading, "time and memory to load checkpoint files of the real size")
    loading.add_argument("--families", nargs="+", choices=("sd1", "sdxl"), default=("sd1", "sdxl"))
    loading.add_argument("--dtype", default="", help="such as bfloat16; else what suits the CPU")
    documents = add(
        "documents", _documents, "two runs of Krita a seed, one without us: layers must be equal"
    )
    documents.add_argument("--seeds", type=int, default=20)
    documents.add_argument("--first-seed", type=int, default=1)
    documents.add_argument("--operations", type=int, default=2000)
    fuzz = add("fuzz", _fuzz, "hostile bytes for both ends of the protocol, guided by coverage")
    fuzz.add_argument("--inputs", type=int, default=10_000_000)
    fuzz.add_argument("--keep-corpus", action="store_true", help="renew the corpus of the tests")
    load = add("load", _load, "a backend under many clients; --minutes 240 --pace 2 is the soak")
    load.add_argument("--clients", type=int, default=50)
    load.add_argument("--minutes", type=float, default=2.0)
    load.add_argument("--pace", type=float, default=0.0, help="seconds between strokes")
    switches = add("switches", _switches, "models changed in turn: what stays in memory")
    switches.add_argument("--count", type=int, default=50)
    switches.add_argument("--full-size", action="store_true", help="SD1.5's shapes; minutes")
    reliability = add("reliability", _reliability, "tests of faults and attacks, as a page")
    reliability.add_argument("--results", type=Path, required=True, help="JSON of the long runs")
    reliability.add_argument(
        "--again", type=Path, metavar="PAGE", help="try only what did not hold in that page"
    )
    reliability.add_argument("--markdown", type=Path, help="the page to write")
    return parser


def main() -> None:
    args = _parser().parse_args()
    _write(args.json, args.run(args))


def _write(path: Path | None, reports: Reports) -> None:
    if path is not None:
        path.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
