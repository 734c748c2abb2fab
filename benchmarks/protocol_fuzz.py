"""A number of inputs enters; how many were tried of each target, and what failed, leaves.

Guided by coverage (atheris, which drives libFuzzer): each target runs in a process of its own, and
begins with the corpus that is kept beside the tests. A failing input is written beside it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FuzzOutcome", "fuzz", "fuzz_table"]

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "protocol" / "corpus"

SHARES = {"codec": 0.45, "server": 0.3, "client": 0.2, "pose": 0.05}
MAX_INPUT_BYTES = 4096

_KEPT, _KEPT_BYTES = 40, 2000

_CHILD = """
import sys
import atheris
with atheris.instrument_imports(include=["nijimi_protocol"]):
    from tests.protocol.fuzz_targets import TARGETS
target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, target)
atheris.Fuzz()
"""


@dataclass(frozen=True, kw_only=True)
class FuzzOutcome:
    """One target. ``failure``: the end of what the fuzzer said, "" where nothing failed."""

    target: str
    inputs: int
    seconds: float
    corpus_files: int
    failure: str = ""


def fuzz(inputs: int, *, keep: bool = False) -> list[FuzzOutcome]:
    """Try so many inputs in all. With ``keep`` the corpus beside the tests is renewed."""
    return [_one(target, round(inputs * share), keep=keep) for target, share in SHARES.items()]


def _one(target: str, inputs: int, *, keep: bool) -> FuzzOutcome:
    from tests.protocol.fuzz_targets import first_inputs

    kept = CORPUS / target
    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work"
        work.mkdir()
        if kept.is_dir():
            for path in kept.iterdir():
                (work / path.name).write_bytes(path.read_bytes())
        for n, data in enumerate(first_inputs(target)):
            (work / f"first{n}").write_bytes(data)
        started = time.monotonic()
        done = _run(target, [f"-runs={inputs}", f"-max_len={MAX_INPUT_BYTES}", str(work)], name)
        found = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        failures = list(Path(name).glob("crash-*")) + list(Path(name).glob("timeout-*"))
        if keep and not failures:
            _renew(kept, work)
        outcome = FuzzOutcome(
            target=target,
            inputs=int(found.group(1)) if found else 0,
            seconds=round(time.monotonic() - started, 1),
            corpus_files=len(list(work.iterdir())),
            failure=done.stderr[-2000:] if done.returncode or failures else "",
        )
        for path in failures:
            (kept / f"failed-{path.name}.bin").write_bytes(path.read_bytes())
        return outcome


def _run(target: str, words: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _CHILD, target, "-print_final_stats=1",
         f"-artifact_prefix={folder}/", "-timeout=10", "-rss_limit_mb=2048", *words],
        capture_output=True, text=True, check=False, cwd=ROOT, errors="replace",
    )  # fmt: skip


def _renew(kept: Path, work: Path) -> None:
    """The smallest inputs of those that reach something of their own."""
    chosen = sorted(work.iterdir(), key=lambda path: path.stat().st_size)[-_KEPT * 3 :: 3]
    chosen = [path for path in chosen if path.stat().st_size <= _KEPT_BYTES]
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.glob("*.bin"):
        old.unlink()
    for n, path in enumerate(chosen):
        (kept / f"{n:03}.bin").write_bytes(path.read_bytes())


def fuzz_table(outcomes: list[FuzzOutcome]) -> str:
    lines = ["target        inputs   seconds   corpus   failures"]
    lines += [
        f"{one.target:8} {one.inputs:11,} {one.seconds:9.0f} {one.corpus_files:8}   "
        f"{one.failure[-300:] or 'none'}"
        for one in outcomes
    ]
    lines.append(f"in all   {sum(one.inputs for one in outcomes):11,}")
    return "\n".join(lines)
