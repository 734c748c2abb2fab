"""Whole frames as one piece of recorded work: the same pictures, and only where more will come."""

# Which frames are recorded is asked without pictures.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine import whole_ways as ways_module
from nijimi_backend.engine.compiled import CompiledPack
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.frozen import Pack, frozen
from nijimi_backend.engine.recorded import Recorder
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.engine.whole_frame import WholeFrames
from nijimi_backend.engine.whole_ways import TRIAL_FRAMES, WORTH_FRAMES
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.placement import Measure
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from tests.backend.test_beside import Noted
from tests.backend.test_recorded import stand_in
from tests.support.tiny_control import make_controlnet
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_tiny_model(folder / "tiny", attention_first=True)
    network = make_controlnet()
    # As they come, small random ones hardly mind where the lines are.
    for parameter in network.controlnet_cond_embedding.parameters():
        parameter.data.mul_(4.0 if parameter.dim() > 1 else 0.0)
    network.save_pretrained(folder / "controlnet" / "my_scribble")
    return folder


@pytest.fixture(autouse=True)
def all_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is just now."""
    monkeypatch.setattr(ways_module, "LONGEST_MS", float("inf"))


@pytest.fixture
def engine(folder: Path) -> Engine:
    return made_engine(folder, Recorder(stand_in))


def made_engine(
    folder: Path, recorder: Recorder | None = None, pack: Pack = frozen, **options: Any
) -> Engine:
    library = Library([folder])
    bundle = load_model(library.find_model("tiny"), choose_device("cpu"))
    return Engine(bundle, library, pack, recorder=recorder, **options)


class Compiler:
    """Compiles at once, on a card that is not there: the network's own copy, but it is told of."""

    def __init__(self) -> None:
        self.recorder = Recorder(stand_in)
        self.log: list[str] = []
        self.fails, self.factor = False, 1.0
        pack = CompiledPack(self.recorder, self._later, self._compile, lambda _device: True)
        self.pack = pack.pack

    def _later(self, plain: Callable[..., Any], make: Callable[[], Any]) -> Callable[..., Any]:
        return Won(make())

    def _compile(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        def run(*given: torch.Tensor) -> Any:
            if self.fails:
                raise RuntimeError("it was compiled for something else")
            self.log.append(type(network).__name__)
            made = network(*given)
            return made * self.factor if isinstance(made, torch.Tensor) else made

        return run


class Won:
    """What has been tried, and was quicker."""

    def __init__(self, serving: Callable[..., Any]) -> None:
        self.serving = serving

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self.serving(*inputs)


def request(n: int = 0, *, with_lines: bool = False, **values: Any) -> FrameRequest:
    """The ``n``-th frame of a painter who also writes: by other pixels, words and noise."""
    canvas = np.full((64, 64, 4), 255, dtype=np.uint8)
    place = n % 16
    canvas[10 + place : 40, 5 : 50 - place, :3] = (30 + 10 * place, 60, 200)
    params: dict[str, Any] = {"prompt": f"house {n % 3}", "seed": n, "num_inference_steps": 3}
    frame = {k: values.pop(k) for k in ("full_quality", "exact", "on_look") if k in values}
    controls: tuple[Control, ...] = ()
    if with_lines:
        lines = np.zeros((64, 64, 4), dtype=np.uint8)
        lines[:: 2 + n % 3, : 30 + 2 * place, 3] = 255
        controls = (Control(kind="scribble", pixels=lines, version=n + 1, scale=2.0),)
    return FrameRequest(
        params=RenderParams(**{**params, **values}),
        extent=Extent(64, 64),
        canvas=canvas,
        canvas_version=n + 1,
        controls=controls,
        **frame,
    )


def whole_of(engine: Engine) -> WholeFrames:
    assert engine._card.whole is not None
    return engine._card.whole


def recorded(engine: Engine) -> int:
    """How many kinds of frames have been."""
    return whole_of(engine)._frames.misses


def paint(engine: Engine, count: int = WORTH_FRAMES, **values: Any) -> None:
    for n in range(count):
        engine.render(request(n, **values))


@pytest.mark.parametrize("with_lines", [False, True], ids=["plain", "controlled"])
def test_whole_frames_are_the_frames_that_steps_give(folder: Path, with_lines: bool) -> None:
    streams = Noted()
    engine = made_engine(folder, Recorder(stand_in), streams=streams)
    plain = made_engine(folder)
    values: dict[str, Any] = {"with_lines": with_lines, "guidance_scale": 8.0}
    paint(engine, **values)
    assert recorded(engine) == 0
    for n in range(12):
        made, expected = (each.render(request(n, **values)) for each in (engine, plain))
        assert np.abs(made.pixels.astype(int) - expected.pixels).max() <= 1
        assert (made.seed, made.num_inference_steps, made.sampler, made.area) == (
            expected.seed, expected.num_inference_steps, expected.sampler, expected.area
        )  # fmt: skip
    assert recorded(engine) == 1
    assert ("first waits" in streams.log) == with_lines


def test_pictures_are_not_written_over_by_the_next_one(engine: Engine) -> None:
    paint(engine)
    before = engine.render(request(1)).pixels
    kept = before.copy()
    engine.render(request(7))
    assert recorded(engine) == 1
    assert np.array_equal(before, kept)


def test_a_slider_that_moves_goes_on_step_by_step(engine: Engine) -> None:
    paint(engine)
    for strength in (0.35, 0.5, 0.65, 0.8, 0.95):
        engine.render(request(2, strength=strength))
    assert recorded(engine) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"full_quality": True},
        {"exact": True},
        {"on_look": lambda _pixels: None},  # pyright: ignore[reportUnknownLambdaType]
        {"sampler": "euler"},
        {"mode": RenderMode.TXT2IMG},
    ],
    ids=["refined", "exact", "looked at", "another sampler", "no canvas"],
)
def test_frames_that_are_more_than_live_stay_as_they_are(
    engine: Engine, values: dict[str, Any]
) -> None:
    paint(engine, 2 * WORTH_FRAMES, **values)
    assert recorded(engine) == 0


def test_frames_that_take_long_can_still_be_given_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways_module, "LONGEST_MS", 0.0)
    paint(engine, 2 * WORTH_FRAMES)
    assert recorded(engine) == 0


def test_frames_are_made_step_by_step_until_networks_have_settled(folder: Path) -> None:
    settled = [False]
    engine = made_engine(folder, Recorder(stand_in, is_settled=lambda: settled[0]))
    paint(engine, 2 * WORTH_FRAMES)
    assert recorded(engine) == 0
    settled[0] = True
    paint(engine, 1)
    assert recorded(engine) == 1


@pytest.mark.parametrize(("spent_s", "stays"), [(0.0, True), (1e3, False)])
def test_whole_frames_that_take_longer_go(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, spent_s: float, stays: bool
) -> None:
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += spent_s
        return now_s[0]

    whole = whole_of(engine)
    whole._clock = clock
    paint(engine, WORTH_FRAMES + TRIAL_FRAMES)
    assert recorded(engine) == 1
    found: list[Any] = []
    real = whole.find

    def find(*given: Any) -> Any:
        found.append(real(*given))
        return found[-1]

    monkeypatch.setattr(whole, "find", find)
    engine.render(request(1))
    assert (found[0] is not None) == stays


def test_they_are_made_of_what_was_compiled(folder: Path) -> None:
    compiler, streams = Compiler(), Noted()
    engine = made_engine(folder, compiler.recorder, compiler.pack, streams=streams)
    plain = made_engine(folder)
    values: dict[str, Any] = {"with_lines": True, "guidance_scale": 8.0}
    paint(engine, **values)
    assert recorded(engine) == 0
    # The first one is compared with networks as they come; where those wait is no part of it.
    engine.render(request(1, **values))
    streams.log.clear()
    for n in range(TRIAL_FRAMES - 1):
        compiler.log.clear()
        made, expected = (each.render(request(n, **values)) for each in (engine, plain))
        assert np.abs(made.pixels.astype(int) - expected.pixels).max() <= 1
        assert compiler.log == ["_Coding", *3 * ["ControlEncoder", "UNetWithExtras"]]
        assert not streams.log
    # Then networks as they come are tried, with the ControlNet beside the encoder.
    compiler.log.clear()
    made, expected = (each.render(request(7, **values)) for each in (engine, plain))
    assert np.abs(made.pixels.astype(int) - expected.pixels).max() <= 1
    assert not compiler.log
    assert "first waits" in streams.log
    assert recorded(engine) == 1


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "differs"])
def test_where_the_compiled_ones_fail_within_a_frame_the_plain_ones_are_recorded(
    folder: Path, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    compiler = Compiler()
    engine, plain = made_engine(folder, compiler.recorder, compiler.pack), made_engine(folder)
    paint(engine)
    compiler.fails, compiler.factor = fails, 20.0
    for n in range(4):
        compiler.log.clear()
        made, expected = engine.render(request(n)), plain.render(request(n))
        assert np.abs(made.pixels.astype(int) - expected.pixels).max() <= 1
    assert not compiler.log
    assert "the next one is tried" in caplog.text
    assert recorded(engine) == 1


@pytest.mark.parametrize("joins", [False, True])
def test_words_are_read_once_a_frame(folder: Path, joins: bool) -> None:
    engine, plain = made_engine(folder, Recorder(stand_in), joins=joins), made_engine(folder)
    paint(engine, guidance_scale=8.0)
    unet: Any = engine._bundle.unet
    layer = next(m for name, m in unet.named_modules() if name.endswith("attn2.to_k"))
    group = layer.__dict__["forward"]._group if joins else None
    for n in range(6):
        made, expected = (
            each.render(request(n, guidance_scale=8.0)).pixels for each in (engine, plain)
        )
        assert np.abs(made.astype(int) - expected).max() <= 1
        # Replayed or not: one frame's words, and no older ones.
        assert group is None or len(group._known) == 1
    assert recorded(engine) == 1


def test_pictures_of_several_clients_are_made_together(engine: Engine) -> None:
    paint(engine)
    company = engine.company()
    for who in ("one", "two"):
        company.add(who, request(1), lambda: False, lambda *_: None)
    rounds = 0
    while len(company):
        company.advance()
        rounds += 1
    # The first begins them.
    assert rounds == 1 + 3
    assert recorded(engine) == 0
    company.add("alone", request(1), lambda: False, lambda *_: None)
    (ended,) = company.advance()
    assert ended[0] == "alone"
    assert recorded(engine) == 1


def test_weights_that_change_in_place_are_followed(folder: Path, engine: Engine) -> None:
    paint(engine)
    before = engine.render(request(3)).pixels
    unet: Any = engine._bundle.unet
    for parameter in unet.parameters():
        parameter.data.mul_(0.7)
    after = engine.render(request(3)).pixels
    assert recorded(engine) == 1
    assert not np.array_equal(before, after)
    plain = made_engine(folder)
    other: Any = plain._bundle.unet
    for parameter in other.parameters():
        parameter.data.mul_(0.7)
    assert np.abs(after.astype(int) - plain.render(request(3)).pixels).max() <= 1


def test_other_networks_are_recorded_anew(engine: Engine) -> None:
    paint(engine)
    engine.render(request(1))
    engine._planner.hypernets.version += 1
    paint(engine)
    engine.render(request(1))
    assert recorded(engine) == 2


def test_where_memory_is_short_all_is_let_go(engine: Engine) -> None:
    paint(engine)
    engine.render(request(1))
    engine._bundle.placement.measure = Measure.TILES
    before = recorded(engine)
    paint(engine, 2 * WORTH_FRAMES)
    assert recorded(engine) == before
    whole_of(engine).clear()
    assert len(whole_of(engine)._frames._kept) == 0


def test_what_cannot_be_recorded_is_still_painted(folder: Path) -> None:
    def cannot(_work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    engine, plain = made_engine(folder, Recorder(cannot)), made_engine(folder)
    paint(engine)
    for n in range(3):
        made, expected = engine.render(request(n)), plain.render(request(n))
        assert np.abs(made.pixels.astype(int) - expected.pixels).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_whole_frames_on_a_card(folder: Path) -> None:
    library = Library([folder])
    info, device = library.find_model("tiny"), choose_device("cuda")
    engine = Engine(load_model(info, device), library, recorder=Recorder())
    plain = Engine(load_model(info, device), library)
    paint(engine, with_lines=True)
    for n in range(12):
        made = engine.render(request(n, with_lines=True)).pixels
        expected = plain.render(replace(request(n, with_lines=True))).pixels
        assert np.abs(made.astype(int) - expected).max() <= 4
    assert recorded(engine) == 1
