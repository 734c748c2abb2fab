"""A seed enters; two runs of real Krita are compared, and what differed leaves.

One run has the plugin, live and with a quick stand-in for the engine; the other has no plugin at
all. After every operation all layers that are not ours must be equal byte by byte, with their
names, order, opacity and masks, so must the selection be, and the undo history must be as long as
without us but for one step an applied picture.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nijimi_backend.plugin_archive import build_archive
from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess
from nijimi_installer.desktop.profile import KritaProfile
from nijimi_installer.desktop.xvfb import VirtualScreen
from nijimi_installer.errors import DemoFailed
from nijimi_installer.plugin_install import unpack_plugin

from .plan import SIDE_PX, make_plan

__all__ = ["Outcome", "fuzz_table", "run_seed"]

_HERE = Path(__file__).parent
_QUICK = _HERE.parents[1] / "tests" / "support" / "quick_backend.py"
_INSIDE = _HERE / "inside.py"
_STEPS = DRIVER_DIR / "steps.py"
_STANDSTILL_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One seed: how far both runs came, and the first thing that was not as it must be."""

    seed: int
    preview_layer: bool
    operations: int
    applied: int
    generated: int
    seconds: float
    failure: str = ""
    counts: dict[str, int] = field(default_factory=dict[str, int])


def run_seed(seed: int, operations: int, folder: Path, *, preview_layer: bool = False) -> Outcome:
    """Both runs of one seed, side by side. Krita's profiles are kept in ``folder``."""
    started = time.monotonic()
    plan = make_plan(seed, operations, preview_layer=preview_layer)
    alone: list[dict[str, Any]] = []
    watched: list[dict[str, Any]] = []
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(_run, plan, folder, with_nijimi=is_ours) for is_ours in (False, True)]
        try:
            alone, watched = (run.result() for run in runs)
            failure = first_difference(alone, watched, with_undo=not preview_layer)
        except (DemoFailed, RuntimeError, TimeoutError) as error:
            failure = f"{error}"
    counts: dict[str, int] = {}
    for operation in plan[: len(watched)]:
        counts[operation["do"]] = counts.get(operation["do"], 0) + 1
    return Outcome(
        seed=seed,
        preview_layer=preview_layer,
        operations=len(watched),
        applied=watched[-1]["applied"] if watched else 0,
        generated=watched[-1]["generated"] if watched else 0,
        seconds=round(time.monotonic() - started, 1),
        failure=failure,
        counts=counts,
    )


def first_difference(
    alone: list[dict[str, Any]], watched: list[dict[str, Any]], *, with_undo: bool = True
) -> str:
    """Where the run with Nijimi first was not as the one without, in words; "" where it never was.

    The run with Nijimi has one record more: live is off at its end.
    """
    if len(watched) != len(alone) + 1:
        return f"{len(alone)} operations without Nijimi, {len(watched)} with it"
    for one, two in zip([*alone, alone[-1]], watched, strict=True):
        where = f"after operation {two['n']} ({two['do']})"
        if one["modal"] or two["modal"]:
            return f"{where} a dialog stands open: {one['modal'] or two['modal']}"
        if one["digest"] != two["digest"]:
            lines = [
                f"{a} | {b}"
                for texts in zip(one["layers"], two["layers"], strict=True)
                for a, b in _pairs(*texts)
                if a != b
            ]
            return f"{where} documents differ: " + "; ".join(lines)
        if with_undo and one["undo"] != two["undo"]:
            return f"{where} undo stands at {two['undo']}, without Nijimi at {one['undo']}"
    return ""


def _pairs(one: list[str], two: list[str]) -> list[tuple[str, str]]:
    most = max(len(one), len(two))
    longer = [texts + ["(nothing)"] * (most - len(texts)) for texts in (one, two)]
    return list(zip(*longer, strict=True))


def _run(plan: list[dict[str, Any]], folder: Path, *, with_nijimi: bool) -> list[dict[str, Any]]:
    profile = _profile(folder / ("watched" if with_nijimi else "alone"), with_nijimi=with_nijimi)
    out = profile.root / "records.jsonl"
    with VirtualScreen() as screen, KritaProcess(profile, screen.display) as krita:
        krita.call(_STEPS, "fill_screen")
        for title in ("second", "first"):
            krita.call(_STEPS, "new_document", width=SIDE_PX, height=SIDE_PX, name=title)
            krita.call(_STEPS, "choose_brush", size=12.0)
        krita.call(_INSIDE, "begin", plan=plan, out=str(out), with_nijimi=with_nijimi)
        _wait(krita)
        records = [json.loads(line) for line in out.read_text().splitlines()]
        krita.quit()
        if with_nijimi and "Traceback" in (log := krita.log_tail(400)):
            raise RuntimeError(f"Krita's log tells of a fault: {log[-2000:]}")
    return records


def _profile(root: Path, *, with_nijimi: bool) -> KritaProfile:
    profile = KritaProfile(root=root)
    profile.write(("nijimi", "nijimi_driver") if with_nijimi else ("nijimi_driver",))
    kritarc = profile.config_dir / "kritarc"
    # Every step of the plan stays in the history, so that it can be counted.
    kritarc.write_text("undoStackLimit=20000\n" + kritarc.read_text())
    if with_nijimi:
        archive = root / "nijimi.zip"
        build_archive(archive)
        unpack_plugin(archive, profile.pykrita_dir)
        command = [sys.executable, str(_QUICK)]
        profile.nijimi_config.parent.mkdir(parents=True, exist_ok=True)
        profile.nijimi_config.write_text(json.dumps({"backend_command": command}))
        # Every seed begins with the docker's own values.
        (profile.nijimi_config.parent / "docker.json").unlink(missing_ok=True)
    return profile


def _wait(krita: KritaProcess) -> None:
    done, since = -1, time.monotonic()
    while True:
        time.sleep(1.0)
        state: dict[str, Any] = krita.call(_INSIDE, "progress", timeout_s=120)
        if state["error"]:
            who = krita.profile.root.name
            raise RuntimeError(f"{who}: operation {state['done']}: {state['error']}")
        if state["over"]:
            return
        if state["done"] != done:
            done, since = state["done"], time.monotonic()
        elif time.monotonic() - since > _STANDSTILL_S:
            raise TimeoutError(f"nothing happens after operation {done}")


def fuzz_table(outcomes: list[Outcome]) -> str:
    lines = ["seed   shown in   operations   applied   generated   seconds   outcome"]
    for one in outcomes:
        shown_in = "layer" if one.preview_layer else "overlay"
        verdict = " ".join(one.failure.split())[-400:] or "as without Nijimi"
        lines.append(
            f"{one.seed:4}   {shown_in:8} {one.operations:12} {one.applied:9} "
            f"{one.generated:11} {one.seconds:9.0f}   {verdict}"
        )
    return "\n".join(lines)
