"""Repainting a selection: nothing outside it changes, and every odd selection is handled."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_backend.engine.asks import Making
from nijimi_backend.engine.denoiser import Start
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.inpaint.fill import fill_selection, spread
from nijimi_backend.engine.inpaint.plan import make_plan
from nijimi_backend.engine.inpaint.regions import (
    feathered,
    find_islands,
    layer_alpha,
    make_regions,
)
from nijimi_backend.engine.request import FrameRequest, Pixels
from nijimi_backend.errors import BadInput
from nijimi_backend.picture_files import PictureFile
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.inpaint import InitialFill, InpaintMode, InpaintParams
from nijimi_protocol.params import SAMPLERS, RenderMode, RenderParams

SIDE = 160

_VERSIONS = itertools.count(1)


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Engine:
    return open_engine("tiny", models_dir)


def _canvas() -> Pixels:
    rng = np.random.default_rng(1)
    canvas = np.full((SIDE, SIDE, 4), 255, dtype=np.uint8)
    canvas[..., :3] = cv2.resize(rng.integers(0, 255, (10, 10, 3), dtype=np.uint8), (SIDE, SIDE))
    return canvas


def _disc(x: int = 80, y: int = 80, radius: int = 30) -> Pixels:
    disc = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(disc, (x, y), radius, 255, -1)
    return disc


def _params(mode: InpaintMode = InpaintMode.REFINE, **values: object) -> RenderParams:
    wish = InpaintParams(mode=mode, **values)  # pyright: ignore[reportArgumentType]
    return RenderParams(
        prompt="a boat", strength=0.6, num_inference_steps=2, mode=RenderMode.INPAINT, inpaint=wish
    )


def _request(mask: Pixels, params: RenderParams | None = None, **values: object) -> FrameRequest:
    # Versions tell the caches apart: no two requests of the tests are alike.
    version = next(_VERSIONS)
    request = FrameRequest(
        params=params or _params(),
        extent=Extent(SIDE, SIDE),
        canvas=_canvas(),
        canvas_version=version,
        mask=mask,
        mask_version=version,
    )
    return replace(request, **values)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("mode", list(InpaintMode))
def test_every_mode_changes_the_selection_and_not_one_pixel_beside_it(
    engine: Engine, mode: InpaintMode
) -> None:
    mask, canvas = _disc(), _canvas()
    if mode is InpaintMode.EXPAND:
        canvas[:, 90:, 3] = 0
    picture = engine.render(_request(mask, _params(mode), canvas=canvas))
    before = PictureFile(values=canvas[..., [2, 1, 0, 3]])
    after = before.with_layer(picture.pixels, picture.area.x, picture.area.y)
    differs = (before.values != after.values).any(axis=2)
    allowed = mask == 0 if mode is InpaintMode.BACKGROUND else mask > 0
    if mode is InpaintMode.EXPAND:
        allowed &= canvas[..., 3] == 0
    assert not differs[~allowed].any()
    assert differs[allowed].mean() > 0.5


def test_a_soft_selection_leaves_what_is_not_selected_as_it_was(engine: Engine) -> None:
    mask = np.asarray(cv2.GaussianBlur(_disc(), (0, 0), 9), dtype=np.uint8)
    picture = engine.render(_request(mask))
    area = picture.area
    beside = mask[area.y : area.bottom, area.x : area.right] == 0
    assert (picture.pixels[beside, 3] == 0).all()
    assert (picture.pixels[~beside, 3] > 0).mean() > 0.8


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(_disc(radius=0), id="one pixel"),
        pytest.param(np.full((SIDE, SIDE), 255, np.uint8), id="everything"),
        pytest.param(_disc(0, 0, 20), id="a corner"),
        pytest.param(np.eye(SIDE, dtype=np.uint8) * 255, id="a diagonal"),
        pytest.param(np.full((SIDE, SIDE), 1, np.uint8), id="nearly nothing, everywhere"),
    ],
)
def test_odd_selections_are_repainted(engine: Engine, mask: Pixels) -> None:
    picture = engine.render(_request(mask))
    area = picture.area
    assert Bounds(0, 0, SIDE, SIDE).contains(area)
    shown = picture.pixels[..., 3] > 0
    selected = mask[area.y : area.bottom, area.x : area.right] > 0
    assert shown.any()
    assert not shown[~selected].any()


@pytest.mark.parametrize(
    ("mask", "canvas_alpha", "mode", "words"),
    [
        (np.zeros((SIDE, SIDE), np.uint8), 255, InpaintMode.FILL, "Nothing is selected"),
        (np.zeros((20, 30), np.uint8), 255, InpaintMode.FILL, "30 x 20"),
        (np.full((SIDE, SIDE), 255, np.uint8), 255, InpaintMode.BACKGROUND, "no background"),
        (np.full((SIDE, SIDE), 255, np.uint8), 255, InpaintMode.EXPAND, "nothing to expand"),
    ],
)
def test_what_cannot_be_repainted_is_told(
    engine: Engine, mask: Pixels, canvas_alpha: int, mode: InpaintMode, words: str
) -> None:
    canvas = _canvas()
    canvas[..., 3] = canvas_alpha
    with pytest.raises(BadInput, match=words) as caught:
        engine.render(_request(mask, _params(mode), canvas=canvas))
    assert caught.value.action


def test_an_unchanged_selection_is_planned_once(engine: Engine) -> None:
    request = _request(_disc())
    engine.render(request)
    before = engine.regions.misses
    engine.render(replace(request, canvas_version=next(_VERSIONS)))
    assert engine.regions.misses == before
    engine.render(replace(request, mask_version=next(_VERSIONS)))
    assert engine.regions.misses == before + 1


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_an_inpaint_checkpoint_sees_mask_and_surroundings(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, guidance_scale: float
) -> None:
    engine = open_engine("tiny-inpaint", models_dir)
    params = replace(_params(), guidance_scale=guidance_scale, negative_prompt="a car")
    seen: list[torch.Tensor] = []
    denoiser = engine.denoiser
    predict = denoiser.predict

    def spy(*inputs: Any) -> Making[torch.Tensor]:
        seen.append(inputs[4])
        return predict(*inputs)

    monkeypatch.setattr(denoiser, "predict", spy)
    engine.render(_request(_disc(), params))
    mask, known = seen[0][0, 0], seen[0][0, 1:]
    assert known.shape[0] == 4
    middle = mask.shape[0] // 2
    assert mask[middle, middle] == 1.0
    assert mask[0, 0] == 0.0
    hidden = known[:, middle - 1 : middle + 1, middle - 1 : middle + 1]
    assert hidden.var(dim=(1, 2)).max() < known.var(dim=(1, 2)).max() / 10, "it saw the selection"
    whole = engine.render(_request(_disc(), replace(params, mode=RenderMode.IMG2IMG)))
    assert whole.pixels[..., 3].min() == 255
    assert (seen[-1][0, 0] == 1.0).all()


def test_without_a_mode_emptiness_and_strength_choose() -> None:
    canvas, mask = _canvas(), _disc()
    auto = _params(InpaintMode.AUTO)
    assert make_plan(canvas, mask, auto).mode is InpaintMode.REFINE
    assert make_plan(canvas, mask, replace(auto, strength=1.0)).mode is InpaintMode.FILL
    canvas[..., 3][mask > 0] = 0
    plan = make_plan(canvas, mask, auto)
    assert plan.mode is InpaintMode.EXPAND
    assert plan.strength == 1.0


def test_islands_far_apart_have_crops_of_their_own_and_near_ones_share() -> None:
    mask = np.zeros((1024, 1024), np.uint8)
    mask[20:60, 20:60] = 255
    mask[900:960, 900:950] = 120
    assert find_islands(mask) == [Bounds(900, 900, 50, 60), Bounds(20, 20, 40, 40)]
    far = make_regions(mask, 256, InpaintParams())
    assert len(far) == 2
    assert all(region.crop.extent == Extent(256, 256) for region in far)
    mask[20:60, 120:160] = 255
    assert len(make_regions(mask, 256, InpaintParams())) == 2


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 290), st.integers(0, 190), st.integers(1, 40), st.integers(1, 40)),
        min_size=1,
        max_size=12,
    )
)
def test_regions_cover_every_selected_pixel_once(rects: list[tuple[int, int, int, int]]) -> None:
    mask = np.zeros((200, 300), np.uint8)
    for x, y, w, h in rects:
        mask[y : y + h, x : x + w] = 255
    covered = np.zeros_like(mask)
    for region in make_regions(mask, 64, InpaintParams(grow_px=4)):
        crop = region.crop
        assert Bounds(0, 0, 300, 200).contains(crop)
        part = (slice(crop.y, crop.bottom), slice(crop.x, crop.right))
        assert np.array_equal(region.selection, mask[part])
        assert (region.repaint >= region.selection).all()
        assert not covered[part].any(), "two regions overlap"
        covered[part] = 1
    assert covered[mask > 0].all()


def test_alpha_is_zero_outside_full_inside_and_rises_between() -> None:
    selection = _disc(radius=40)
    alpha = layer_alpha(selection, 10)
    assert (alpha[selection == 0] == 0).all()
    assert alpha[80, 80] == 255
    edge = alpha[80, 40:52].astype(int)
    assert (np.diff(edge) >= 0).all()
    assert 0 < edge[3] < 255
    hard = layer_alpha(selection, 0)
    assert set(np.unique(hard)) == {0, 255}


def test_spread_values_come_from_the_known_ones() -> None:
    values = np.zeros((40, 60, 2), np.float32)
    values[:, :10] = (3.0, -1.0)
    known = np.zeros((40, 60), np.float32)
    known[:, :10] = 1.0
    assert np.allclose(spread(values, known), (3.0, -1.0), atol=1e-4)
    assert not spread(values, np.zeros_like(known)).any()
    known[:, 50:], values[:, 50:] = 1.0, (7.0, 1.0)
    middle = spread(values, known)[20, 30]
    assert 3.0 < middle[0] < 7.0


@pytest.mark.parametrize("kind", list(InitialFill))
def test_a_fill_replaces_the_masked_part_only(kind: InitialFill) -> None:
    rgb = np.ascontiguousarray(_canvas()[..., :3])
    mask = _disc()
    filled = fill_selection(rgb, mask, kind)
    assert np.array_equal(filled[mask == 0], rgb[mask == 0])
    changed = not np.array_equal(filled[mask > 0], rgb[mask > 0])
    assert changed == (kind is not InitialFill.NONE)


def _seen(engine: Engine, sampler: str, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The latents that the network is given where nothing is selected, by step."""
    seen: list[torch.Tensor] = []
    corner = (..., slice(0, 2), slice(0, 2))

    predict = engine.denoiser.predict

    def listen(start: Start, guidance: Any, latents: torch.Tensor, n: int, *rest: Any) -> Any:
        seen.append(start.run.scaled(latents, n)[corner].clone())
        return predict(start, guidance, latents, n, *rest)

    monkeypatch.setattr(engine.denoiser, "predict", listen)
    params = replace(_params(InpaintMode.FILL), sampler=sampler, num_inference_steps=3)
    engine.render(_request(_disc(), params))
    return seen


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "auto"])
def test_a_model_that_was_taught_so_sees_what_stays_without_noise(
    sampler: str, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "told")
    shutil.copytree(models_dir / "tiny", tmp_path / "untold")
    path = tmp_path / "told" / "scheduler" / "scheduler_config.json"
    config = {**json.loads(path.read_text()), "known_latents": "clean"}
    path.write_text(json.dumps(config))
    told, untold = (
        _seen(open_engine(name, tmp_path), sampler, monkeypatch) for name in ("told", "untold")
    )
    assert len(told) == len(untold) >= 3
    # One picture without noise at every step, at the scale that networks see, whatever the sampler.
    for each in told:
        assert torch.allclose(each, told[0], atol=1e-3)
    assert float(told[0].std()) < 0.5 * float(untold[0].std())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_layer_of_alpha_zero_changes_no_value(dtype: type, channels: int) -> None:
    rng = np.random.default_rng(3)
    top = int(np.iinfo(dtype).max)
    values = rng.integers(0, top, (20, 30, channels), endpoint=True).astype(dtype)
    layer = rng.integers(0, 255, (8, 9, 4), dtype=np.uint8)
    layer[:4, :, 3] = 0
    layer[4:, :, 3] = 255
    after = PictureFile(values=values).with_layer(layer, 5, 6).values
    touched = np.zeros((20, 30), dtype=bool)
    touched[10:14, 5:14] = True
    assert np.array_equal(after[~touched], values[~touched])
    if channels >= 3:
        expected = layer[4:, :, 2::-1].astype(int) * (top // 255)
        assert np.array_equal(after[10:14, 5:14, :3], expected)


def test_a_chosen_context_is_what_the_model_sees() -> None:
    selection = np.zeros((400, 600), dtype=np.uint8)
    selection[100:140, 100:140] = 255
    selection[300:320, 500:520] = 255
    by_rule = make_regions(selection, 64, InpaintParams())
    assert len(by_rule) == 2
    chosen = make_regions(selection, 64, InpaintParams(context=Bounds(50, 60, 200, 150)))
    assert [region.crop for region in chosen] == [Bounds(50, 60, 470, 260)]
    wide = make_regions(selection, 64, InpaintParams(context=Bounds(-500, -500, 9000, 9000)))
    assert wide[0].crop == Bounds(0, 0, 600, 400)
    beside = make_regions(selection, 64, InpaintParams(context=Bounds(5000, 0, 10, 10)))
    assert [region.crop for region in beside] == [region.crop for region in by_rule]


def test_feathering_softens_inwards_and_selects_nothing_new() -> None:
    selection = _disc()
    soft = feathered(selection, 10)
    assert (soft[selection == 0] == 0).all()
    assert (soft <= selection).all()
    assert soft.max() == 255, "the middle stays fully selected"
    assert len(np.unique(soft)) > 8
    assert ((feathered(selection, 512) > 0) == (selection > 0)).all()
    assert np.array_equal(feathered(selection, 0), selection)
    whole = np.full((20, 20), 255, dtype=np.uint8)
    assert np.array_equal(feathered(whole, 10), whole), "the canvas has no edge"


def test_a_feathered_repaint_keeps_every_value_beside_it(engine: Engine) -> None:
    params = replace(_params(), inpaint=InpaintParams(mode=InpaintMode.FILL, feather_px=12))
    picture = engine.render(_request(_disc(), params))
    area = picture.area
    outside = _disc()[area.y : area.bottom, area.x : area.right] == 0
    assert (picture.pixels[outside][:, 3] == 0).all()
    assert picture.pixels[..., 3].max() == 255
