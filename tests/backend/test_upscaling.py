"""A canvas becomes a larger picture: by resampling or a network, then repainted without a seam."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.enlarge import blend_in, enlarge, tiles_of
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.engine.windows import FusedWindows
from nijimi_backend.errors import BadInput, ModelCorrupt, ModelMissing, RenderCancelled
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.recognise import FileKind
from nijimi_backend.models.upscalers import load_upscaler
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams
from safetensors.torch import save_file

from tests.support.upscaler_files import write_esrgan

NATIVE_PX = 64


@pytest.fixture(scope="module")
def upscalers(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("upscalers")
    write_esrgan(folder / "four.safetensors", scale=4)
    write_esrgan(folder / "two.safetensors", scale=2)
    write_esrgan(folder / "grey.safetensors", scale=2, channels=1)
    save_file({"conv_first.weight": torch.zeros(8, 3, 3, 3)}, folder / "half.safetensors")
    return Library([folder])


@pytest.fixture(scope="module")
def engine(models_dir: Path, upscalers: Library) -> Engine:
    return open_engine("tiny", models_dir, "cpu", library=Library([models_dir, *upscalers.roots]))


def _smooth(width: int, height: int) -> npt.NDArray[np.uint8]:
    """RGB without any edge: what has one afterwards was given it."""
    x = np.linspace(40, 200, width)[None, :, None]
    y = np.linspace(0, 50, height)[:, None, None]
    return np.broadcast_to(x + y, (height, width, 3)).astype(np.uint8).copy()


def _request(width: int, height: int, wish: UpscaleParams, **params: Any) -> FrameRequest:
    canvas = cv2.cvtColor(_smooth(width, height), cv2.COLOR_RGB2BGRA)
    return FrameRequest(
        params=RenderParams(prompt="sea", num_inference_steps=2, **params),
        extent=Extent(width, height),
        canvas=np.asarray(canvas, np.uint8),
        canvas_version=7,
        exact=True,
        upscale=wish,
    )


@given(
    st.builds(Extent, st.integers(1, 400), st.integers(1, 400)),
    st.integers(20, 128),
    st.integers(0, 10),
)
def test_tiles_cover_everything_and_overlap(extent: Extent, side: int, overlap: int) -> None:
    tiles = tiles_of(extent, side, overlap)
    covered = np.zeros((extent.height, extent.width), int)
    for tile in tiles:
        assert extent.bounds.contains(tile)
        assert tile.width == min(side, extent.width)
        covered[tile.y : tile.bottom, tile.x : tile.right] += 1
    assert covered.min() >= 1
    row = sorted({tile.x for tile in tiles})
    assert all(b - a <= side - overlap for a, b in itertools.pairwise(row))


def test_windows_of_one_tensor_fuse_to_that_tensor() -> None:
    whole = torch.randn(1, 4, 20, 33)
    fused = FusedWindows(whole)
    for window in tiles_of(Extent(33, 20), 8, 2):
        part = whole[..., window.y : window.bottom, window.x : window.right]
        fused.add(window, part)
    assert torch.allclose(fused.mean(), whole, atol=1e-5)


def test_a_tile_passes_smoothly_into_those_beside_it() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    blend_in(picture, Bounds(20, 0, 20, 40), np.full((40, 20, 3), 200, np.uint8), overlap=10)
    row = picture[5, :, 0].astype(int)
    assert (row[:20] == 0).all()
    assert (row[30:] == 200).all()
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 40


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 3.7])
def test_the_picture_has_the_size_that_was_asked_for(engine: Engine, factor: float) -> None:
    wish = UpscaleParams(factor=factor, strength=0.0)
    request = _request(90, 61, wish)
    picture = engine.render(request)
    assert picture.pixels.shape == (round(61 * factor), round(90 * factor), 4)
    assert (picture.pixels[..., 3] == 255).all()
    assert picture.area == Bounds(0, 0, 90, 61)
    assert picture.num_inference_steps == 0
    assert request.canvas is not None
    plain = cv2.resize(picture.pixels, (90, 61), interpolation=cv2.INTER_AREA)
    assert np.abs(plain.astype(int) - request.canvas).max() <= 3


def test_a_network_enlarges_in_tiles_as_it_would_in_one(upscalers: Library) -> None:
    network = load_upscaler("four", upscalers, choose_device("cpu"))
    assert network.scale == 4
    rgb = np.random.default_rng(1).integers(0, 255, (230, 300, 3), np.uint8)
    images = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        whole = network.run(images)[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
        tiled = enlarge(rgb, Extent(1200, 920), network)
    # A small network's reach is shorter than half of the overlap, but for the outermost cells.
    difference = np.abs(tiled.astype(int) - whole)
    assert np.percentile(difference, 99.9) <= 1
    assert difference.max() <= 12
    assert whole.std() > 1, "the network gave nothing to compare"


def test_a_network_of_four_gives_any_factor(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    wish = UpscaleParams(factor=2.5, model="four", strength=0.0)
    picture = engine.render(_request(210, 100, wish), on_step=lambda *at: seen.append(at))
    assert picture.pixels.shape == (250, 525, 4)
    assert seen == [(1, 2), (2, 2)]


def test_repainting_changes_the_picture_and_leaves_no_seam(engine: Engine) -> None:
    plain = engine.render(_request(120, 80, UpscaleParams(factor=2.5, strength=0.0)))
    seen: list[tuple[int, int]] = []
    wish = UpscaleParams(factor=2.5, strength=0.3)
    picture = engine.render(_request(120, 80, wish), on_step=lambda *at: seen.append(at))
    assert picture.pixels.shape == plain.pixels.shape == (200, 300, 4)
    assert not np.array_equal(picture.pixels, plain.pixels)
    assert picture.num_inference_steps == 2
    assert picture.sampler
    windows = 6 * 4  # 304 x 200 px in windows of 64 that overlap by 16
    assert seen == [(n, 1 + 4 * windows) for n in range(1, 2 + 4 * windows)]
    # A step at the edge of a window would stand out among the steps everywhere.
    columns = np.abs(np.diff(picture.pixels[..., :3].astype(float), axis=1)).mean((0, 2))
    edges = {x for tile in tiles_of(Extent(38, 25), 8, 2) for x in (8 * tile.x, 8 * tile.right)}
    at_edges = [columns[x - 1] for x in sorted(edges) if 0 < x < 300]
    assert len(at_edges) >= 8
    assert np.mean(at_edges) <= 1.15 * columns.mean()


def test_one_window_gives_what_a_picture_of_that_size_gives(engine: Engine) -> None:
    request = _request(NATIVE_PX, NATIVE_PX, UpscaleParams(factor=1.0, strength=0.5), strength=0.5)
    alone = engine.render(replace(request, upscale=None))
    assert np.array_equal(engine.render(request).pixels, alone.pixels)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("tiny-inpaint", {}),
        ("tiny-full", {"guidance_scale": 3.0, "negative_prompt": "rain"}),
        ("tiny-full", {"sampler": "dpmpp_2m", "num_inference_steps": 3}),
    ],
    ids=["an inpaint checkpoint", "guidance", "a sampler with a memory"],
)
def test_every_kind_of_model_repaints_in_windows(
    models_dir: Path, model: str, values: dict[str, Any]
) -> None:
    own = open_engine(model, models_dir, "cpu")
    plain = own.render(_request(100, 70, UpscaleParams(factor=1.5, strength=0.0)))
    params = {"num_inference_steps": 2, **values}
    request = _request(100, 70, UpscaleParams(factor=1.5, strength=0.4))
    made = own.render(replace(request, params=replace(request.params, **params)))
    assert made.pixels.shape == plain.pixels.shape
    assert made.num_inference_steps >= 1
    again = own.render(replace(request, params=replace(request.params, **params)))
    assert np.array_equal(made.pixels, again.pixels)


def test_it_is_given_up_between_two_parts(engine: Engine) -> None:
    request = _request(120, 80, UpscaleParams(factor=2.5, strength=0.3))
    for most in (0, 3, 40, 70):
        asked = 0

        def should_stop(most: int = most) -> bool:
            nonlocal asked
            asked += 1
            return asked > most

        with pytest.raises(RenderCancelled):
            engine.render(request, should_stop)


def test_the_mode_does_not_matter_and_an_empty_canvas_is_told(engine: Engine) -> None:
    wish = UpscaleParams(factor=2.0, strength=0.0)
    as_inpaint = engine.render(_request(40, 40, wish, mode=RenderMode.INPAINT))
    assert np.array_equal(as_inpaint.pixels, engine.render(_request(40, 40, wish)).pixels)
    with pytest.raises(BadInput, match="no picture to enlarge"):
        engine.render(replace(_request(40, 40, wish), canvas=None))


def test_upscalers_are_known_by_their_weights(upscalers: Library) -> None:
    kinds = {file.name: file.found.kind for file in upscalers.files()}
    assert set(kinds.values()) == {FileKind.UPSCALER}


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nobody", ModelMissing, "no upscaler named 'nobody'"),
        ("half", ModelCorrupt, "no upscaler that can be read"),
        ("grey", BadInput, "does not make colour pictures"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(
    upscalers: Library, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_upscaler(name, upscalers, choose_device("cpu"))
