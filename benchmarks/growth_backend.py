"""Cases enter; what a stroke costs the backend alone leaves, in time and memory.

A client on a socket paints and waits for the frame. From case to case one thing grows: the canvas,
the stroke, how many others are connected, LoRAs, control layers. Only what the stroke touches may
matter to the time; each case has a process of its own, so that memory can be compared.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from nijimi_backend.models.catalog import EMBEDDED_DIR
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.messages import ControlLayer, SetControls
from nijimi_protocol.params import RenderParams

from tests.support.backend_process import BackendProcess
from tests.support.live_client import LiveClient

__all__ = ["CASES", "Case", "backend_growth", "backend_table"]

_BLOCK_PX = 512
_LORA = EMBEDDED_DIR / "nijimi-mini" / "lcm_lora" / "pytorch_lora_weights.safetensors"
_UNSEEN_STROKES = 4
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Case:
    """``grows`` names what is another than in the case before; ``others`` are idle clients."""

    grows: str
    side_px: int = 1024
    stroke_px: int = 64
    others: int = 0
    loras: int = 0
    controls: int = 0


CASES = (
    *(Case(grows="canvas", side_px=side) for side in (512, 1024, 2048, 4096)),
    *(Case(grows="stroke", side_px=2048, stroke_px=px) for px in (16, 64, 256, 512)),
    *(Case(grows="clients", others=count) for count in (0, 3, 7)),
    *(Case(grows="LoRAs", loras=count) for count in (0, 1, 4, 8)),
    *(Case(grows="controls", controls=count) for count in (0, 1, 2)),
)


def backend_growth(
    cases: tuple[Case, ...] = CASES, strokes: int = 15
) -> Generator[dict[str, Any], None, None]:
    """A row a case, medians: update to frame less the networks, the networks' own time, and what
    the process holds in the end."""
    for case in cases:
        with _backend(case) as backend, ExitStack() as idle:
            for _ in range(case.others):
                _ready(idle.enter_context(LiveClient(backend.port, backend.token)), case)
            with LiveClient(backend.port, backend.token) as client:
                _ready(client, case)
                overhead_ms, model_ms = _paint(client, case.stroke_px, strokes)
                held = psutil.Process(backend.process.pid).memory_info().rss / _MIB
        yield {
            "grows": case.grows,
            "side_px": case.side_px,
            "stroke_px": case.stroke_px,
            "clients": case.others + 1,
            "loras": case.loras,
            "controls": case.controls,
            "overhead_ms_p50": round(statistics.median(overhead_ms), 1),
            "model_ms_p50": round(statistics.median(model_ms), 1),
            "memory_mib": round(held),
        }


@contextmanager
def _backend(case: Case) -> Generator[BackendProcess, None, None]:
    """With as many LoRAs at hand as the case wants, each a copy of the embedded model's own."""
    with tempfile.TemporaryDirectory() as name:
        for n in range(case.loras):
            shutil.copy(_LORA, Path(name) / f"grown{n}.safetensors")
        with BackendProcess("--device", "cpu", models_dir=Path(name)) as backend:
            yield backend


def _ready(client: LiveClient, case: Case) -> None:
    """A painted canvas, its controls, and the first picture shown."""
    client.wait_for_state("ready")
    extent = Extent(case.side_px, case.side_px)
    client.open_canvas(extent)
    words = "".join(f" <lora:grown{n}:0.05>" for n in range(case.loras))
    client.set(
        RenderParams(
            prompt=f"a red house{words}", num_inference_steps=1, refine=False, strength=0.3
        )
    )
    for y in range(0, case.side_px, _BLOCK_PX):
        for x in range(0, case.side_px, _BLOCK_PX):
            client.paint(Bounds(x, y, _BLOCK_PX, _BLOCK_PX), 200)
    layers: list[ControlLayer] = []
    for n in range(case.controls):
        name = f"lines{n}"
        client.open_canvas(extent, name)
        client.paint(Bounds(100, 100 + 200 * n, 400, 12), 255, name)
        layers.append(ControlLayer(id=name, kind="scribble", plane=name))
    client.send_controls(SetControls(revision=0, controls=tuple(layers)))
    client.wait_for_frame(client.session.revision)


def _paint(client: LiveClient, side_px: int, strokes: int) -> tuple[list[float], list[float]]:
    """Milliseconds from a stroke's update to its frame, less the networks', and theirs."""
    overhead_ms: list[float] = []
    model_ms: list[float] = []
    for n in range(strokes + _UNSEEN_STROKES):
        started = time.perf_counter()
        client.paint(Bounds(40 + n % 16, 60, side_px, side_px), 5 * n)
        frame = client.wait_for_frame(client.session.revision)
        if n >= _UNSEEN_STROKES:
            overhead_ms.append((time.perf_counter() - started) * 1000 - frame.model_ms)
            model_ms.append(frame.model_ms)
    return overhead_ms, model_ms


def backend_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "what grows   canvas  stroke  clients  LoRAs  controls   update to frame, less the networks"
        "   networks   memory"
    ]
    for row in rows:
        lines.append(
            f"{row['grows']:10} {row['side_px']:5} px {row['stroke_px']:4} px {row['clients']:8}"
            f"{row['loras']:7}{row['controls']:10}{row['overhead_ms_p50']:34.1f} ms"
            f"{row['model_ms_p50']:9.0f} ms{row['memory_mib']:6} MiB"
        )
    return "\n".join(lines)
