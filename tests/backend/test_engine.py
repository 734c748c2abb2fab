"""Engine: the same request gives the same picture, and only what changed is computed."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nijimi_backend.engine import frozen as frozen_module
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.frozen import frozen
from nijimi_backend.engine.plan import REFINE_STEPS
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.engine.resolution import render_extent
from nijimi_backend.engine.stages import lay_over_white
from nijimi_backend.engine.unet import UNetWithExtras
from nijimi_backend.errors import BadInput, DeviceLost, OutOfMemory, RenderCancelled
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Engine:
    return open_engine("tiny", models_dir, "cpu")


def _canvas(seed: int = 0, width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    canvas = np.random.default_rng(seed).integers(0, 255, (height, width, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    return canvas


def _request(version: int = 1, **params: object) -> FrameRequest:
    canvas = _canvas()
    return FrameRequest(
        params=RenderParams(**{"prompt": "a red house", "seed": 5, **params}),  # type: ignore[arg-type]
        extent=Extent(96, 64),
        canvas=canvas,
        canvas_version=version,
    )


def test_the_same_request_gives_the_same_picture(engine: Engine) -> None:
    first, second = engine.render(_request()), engine.render(_request())
    assert np.array_equal(first.pixels, second.pixels)
    assert first.area == Extent(96, 64).bounds
    assert (first.pixels[..., 3] == 255).all()


def test_another_seed_or_prompt_gives_another_picture(engine: Engine) -> None:
    base = engine.render(_request()).pixels
    assert not np.array_equal(base, engine.render(_request(seed=6)).pixels)
    assert not np.array_equal(base, engine.render(_request(prompt="the sea")).pixels)


def test_strength_zero_gives_the_canvas_back_without_a_network(engine: Engine) -> None:
    picture = engine.render(_request(strength=0.0))
    assert picture.num_inference_steps == 0
    assert picture.model_ms == 0.0
    height, width = picture.pixels.shape[:2]
    expected = _canvas().astype(float).mean((0, 1))
    assert np.abs(picture.pixels.astype(float).mean((0, 1)) - expected).max() < 3
    assert width > height


def test_the_smallest_strength_runs_one_step(engine: Engine) -> None:
    assert engine.render(_request(strength=0.001)).num_inference_steps == 1


@pytest.mark.parametrize("sampler", ["lcm", "euler"])
def test_a_frame_walks_through_the_layers_of_no_network(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    engine.render(_request(version=200, sampler=sampler))
    walked: list[torch.nn.Module] = []
    plain = torch.nn.Module.named_children

    def note(self: torch.nn.Module) -> Any:
        for name, child in plain(self):
            walked.append(child)
            yield name, child

    # ``train`` and ``eval`` go by it: 1.5 ms for SD 1.5's 709 modules, at each step.
    monkeypatch.setattr(torch.nn.Module, "named_children", note)
    engine.render(_request(version=201, sampler=sampler))
    assert walked == []


def test_a_canvas_that_did_not_change_is_not_encoded_again(engine: Engine) -> None:
    engine.render(_request(version=100))
    before = engine.encodings.misses, engine.prompts.encoded.misses
    picture = engine.render(_request(version=100, seed=9))
    assert (engine.encodings.misses, engine.prompts.encoded.misses) == before
    assert "encode" not in picture.timings_ms
    engine.render(_request(version=101, prompt="something new"))
    after = engine.encodings.misses, engine.prompts.encoded.misses
    assert after == (before[0] + 1, before[1] + 1)


def test_rendering_stops_between_steps_when_asked(engine: Engine) -> None:
    done: list[int] = []
    with pytest.raises(RenderCancelled):
        engine.render(_request(), lambda: len(done) >= 2, lambda step, _: done.append(step))
    assert done == [1, 2]


def test_a_refining_pass_takes_more_steps(engine: Engine) -> None:
    request = _request()
    refined = replace(request, full_quality=True)
    assert engine.render(request).num_inference_steps == 4
    assert engine.render(refined).num_inference_steps == REFINE_STEPS


def test_text_to_image_needs_no_canvas_and_image_to_image_does(engine: Engine) -> None:
    params = RenderParams(mode=RenderMode.TXT2IMG, prompt="a boat")
    picture = engine.render(FrameRequest(params=params, extent=Extent(640, 320)))
    assert picture.pixels.shape[1] == 2 * picture.pixels.shape[0]
    with pytest.raises(BadInput):
        engine.render(FrameRequest(params=RenderParams(), extent=Extent(64, 64)))


def test_guidance_uses_the_negative_prompt(engine: Engine) -> None:
    guided = engine.render(_request(guidance_scale=3.0, negative_prompt="a tree")).pixels
    other = engine.render(_request(guidance_scale=3.0, negative_prompt="the sea")).pixels
    assert not np.array_equal(guided, other)


def test_a_prompt_of_a_thousand_words_is_rendered(engine: Engine) -> None:
    picture = engine.render(_request(prompt="house " * 600))
    assert picture.num_inference_steps == 4


def test_transparent_pixels_lie_on_white() -> None:
    canvas = np.zeros((2, 2, 4), dtype=np.uint8)
    canvas[0, 0] = (10, 20, 30, 255)
    canvas[0, 1] = (0, 0, 0, 128)
    opaque = lay_over_white(canvas)
    assert opaque[0, 0].tolist() == [10, 20, 30]
    assert opaque[0, 1].tolist() == [127, 127, 127]
    assert opaque[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("height", [1, 64, 200])
def test_every_row_of_a_canvas_is_laid_on_white(height: int) -> None:
    canvas = np.random.default_rng(1).integers(0, 256, (height, 7, 4), dtype=np.uint8)
    alpha = canvas[..., 3:].astype(np.float64) / 255
    asked = alpha * canvas[..., :3] + (1 - alpha) * 255
    assert np.abs(lay_over_white(canvas) - asked).max() <= 0.5 + 1e-9


def test_laying_a_large_canvas_on_white_takes_little_beside_it() -> None:
    canvas = np.zeros((2048, 1024, 4), dtype=np.uint8)
    tracemalloc.start()
    laid = lay_over_white(canvas)
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most_bytes < 1.5 * laid.nbytes


@pytest.mark.parametrize("name", ["tiny-full", "tiny-lora"])
def test_other_layouts_load_and_render(models_dir: Path, name: str) -> None:
    engine = open_engine(name, models_dir, "cpu")
    picture = engine.render(_request())
    assert picture.pixels.std() > 1


def test_a_fused_lora_changes_the_picture(models_dir: Path, engine: Engine) -> None:
    with_lora = open_engine("tiny-lora", models_dir, "cpu").render(_request()).pixels
    assert not np.array_equal(with_lora, engine.render(_request()).pixels)


def test_a_frozen_unet_is_the_same_function_at_any_timestep(engine: Engine) -> None:
    unet = engine._bundle.unet  # pyright: ignore[reportPrivateUsage]
    torch.manual_seed(0)
    latents, embeds = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 16)
    eager = UNetWithExtras(unet).eval()
    packed = frozen(eager, (latents, torch.tensor(999), embeds))
    assert type(packed) is not type(eager)
    with torch.inference_mode():
        for timestep in (999, 500, 19):
            others = torch.randn(1, 4, 8, 8), torch.tensor(timestep), torch.randn(1, 77, 16)
            assert torch.allclose(packed(*others), eager(*others), atol=1e-4)


@pytest.mark.parametrize(
    ("canvas", "expected"),
    [
        (Extent(512, 512), Extent(256, 256)),
        (Extent(1024, 512), Extent(352, 192)),
        (Extent(1, 10_000), Extent(128, 512)),
        (Extent(64, 64), Extent(256, 256)),
    ],
)
def test_the_size_to_render_keeps_pixels_and_aspect(canvas: Extent, expected: Extent) -> None:
    assert render_extent(canvas, 256, 32) == expected


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (torch.AcceleratorError("an illegal memory access was encountered"), DeviceLost),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLost),
        (RuntimeError("a fault of ours"), RuntimeError),
    ],
)
def test_a_failing_device_is_told_from_a_full_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_making", fail)
        with pytest.raises(kind):
            engine.render(_request())
    assert engine.render(_request()).pixels.any(), "the next one comes"


def test_a_file_that_is_overwritten_while_its_model_is_loaded_harms_nobody(tmp_path: Path) -> None:
    """Weights that were mapped from it would change, or end the process by SIGBUS."""
    write_tiny_model(tmp_path / "tiny")
    engine = open_engine("tiny", tmp_path, "cpu")
    before = engine.render(_request(prompt="a boat")).pixels
    for path in tmp_path.rglob("*.safetensors"):
        with path.open("r+b") as file:
            file.truncate(0)
    engine.render(_request(prompt="new words, so that every network runs", version=2))
    assert np.array_equal(engine.render(_request(prompt="a boat", version=3)).pixels, before)


@pytest.mark.parametrize(("limit", "renders"), [(10**9, 1), (0, 0)])
def test_only_what_gains_by_it_is_warmed_up(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, limit: int, renders: int
) -> None:
    """A large network on a CPU would only make the painter wait twice for the first frame."""
    monkeypatch.setattr(frozen_module, "MAX_FROZEN_PARAMETERS", limit)
    rendered: list[object] = []
    real = Engine.render

    def render(self: Engine, *what: Any, **more: Any) -> Any:
        rendered.append(what)
        return real(self, *what, **more)

    monkeypatch.setattr(Engine, "render", render)
    open_engine("tiny", models_dir, "cpu")
    assert len(rendered) == renders
