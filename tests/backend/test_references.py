"""References: the picture takes after a layer, and is as it was when it no longer does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.frozen import WORTH_CALLS, as_it_is
from nijimi_backend.engine.quickened import TRIAL_CALLS, Quickener
from nijimi_backend.engine.request import Control, FrameRequest, Picture
from nijimi_backend.engine.unet import UNetWithExtras
from nijimi_backend.models.reference_files import find_adapter
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams
from safetensors.torch import load_file, save_file

from benchmarks.real_references import write_image_encoder, write_ip_adapter
from tests.backend.test_quickened import always_quicker
from tests.support.tiny_model import write_tiny_model

SIZE = Extent(64, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    write_tiny_model(folder / "tiny", attention_first=True)
    _write_adapter(folder, "some", "plus")
    write_image_encoder(folder / "vision.safetensors")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return open_engine("tiny", folder, "cpu")


def _write_adapter(folder: Path, name: str, form: str) -> Path:
    engine = open_engine("tiny", folder, "cpu")
    unet = engine._bundle.unet  # pyright: ignore[reportPrivateUsage]
    made: Any = SimpleNamespace(unet=unet)
    write_ip_adapter(folder / f"{name}.safetensors", made, form)
    return folder / f"{name}.safetensors"


def _reference(seed: int = 1, **values: Any) -> Control:
    layer = np.zeros((64, 64, 4), dtype=np.uint8)
    layer[8:40, 8:40, 3] = 255
    layer[8:40, 8:40, :3] = np.random.default_rng(seed).integers(0, 255, (32, 32, 3))
    values = {"kind": "reference", "pixels": layer, "version": seed, **values}
    return Control(**values)


def _render(engine: Engine, *controls: Control, extent: Extent = SIZE, **changes: Any) -> Picture:
    params = RenderParams(
        prompt="a house", seed=4, mode=RenderMode.TXT2IMG, strength=1.0, num_inference_steps=2
    )
    return engine.render(
        FrameRequest(params=replace(params, **changes), extent=extent, controls=controls)
    )


def _same(one: Picture, other: Picture) -> bool:
    assert not one.failures
    assert not other.failures
    return np.array_equal(one.pixels, other.pixels)


def test_a_reference_leads_and_leaves_nothing_behind(engine: Engine) -> None:
    plain = _render(engine)
    led = _render(engine, _reference())
    assert not _same(plain, led)
    assert not _same(led, _render(engine, _reference(seed=2)))
    assert not _same(led, _render(engine, _reference(scale=0.3)))
    assert _same(led, _render(engine, _reference()))
    assert _same(plain, _render(engine, _reference(scale=0.0)))
    assert _same(plain, _render(engine))


def test_a_strength_that_moves_compiles_nothing_anew(engine: Engine) -> None:
    _render(engine, _reference())
    packed = engine.denoiser._unets  # pyright: ignore[reportPrivateUsage]
    room = engine.controls._references  # pyright: ignore[reportPrivateUsage]
    before = packed.misses, room.tokens.misses
    pictures = [_render(engine, _reference(scale=n / 10)) for n in range(1, 6)]
    assert (packed.misses, room.tokens.misses) == before
    assert len({picture.pixels.tobytes() for picture in pictures}) == 5


def test_a_reference_that_comes_back_is_as_strong_as_it_says(folder: Path) -> None:
    """Also where the network itself serves: what it was first asked for is gone from the UNet."""
    engine = open_engine("tiny", folder, "cpu", pack=as_it_is)
    weak = _render(engine, _reference(scale=0.3))
    _render(engine)
    assert _same(weak, _render(engine, _reference(scale=0.3)))
    assert not _same(weak, _render(engine, _reference(scale=0.9)))


def test_a_range_of_steps_is_kept(engine: Engine) -> None:
    plain, whole = _render(engine), _render(engine, _reference())
    late = _render(engine, _reference(start=0.5))
    early = _render(engine, _reference(end=0.5))
    assert len({each.pixels.tobytes() for each in (plain, whole, late, early)}) == 4


def test_two_references_count_both(engine: Engine) -> None:
    first, second = _reference(seed=1, scale=0.5), _reference(seed=2, scale=0.5)
    both = _render(engine, first, second)
    assert not _same(both, _render(engine, first))
    assert not _same(both, _render(engine, second))


def test_only_what_is_painted_counts_and_grey_layers_are_read(engine: Engine) -> None:
    whole = _reference().pixels
    assert whole is not None
    moved = np.roll(whole, 7, axis=1)
    assert _same(
        _render(engine, _reference()), _render(engine, _reference(pixels=moved, version=9))
    )
    grey = _render(engine, _reference(pixels=whole[..., 0].copy(), version=10))
    assert not _same(grey, _render(engine, _reference()))


def test_guidance_goes_away_from_no_picture(engine: Engine) -> None:
    plain = _render(engine, guidance_scale=3.0)
    assert not _same(plain, _render(engine, _reference(), guidance_scale=3.0))


def test_enlarging_after_a_reference_is_made_without_it(folder: Path) -> None:
    canvas = np.full((64, 64, 4), 200, dtype=np.uint8)
    request = FrameRequest(
        params=RenderParams(prompt="a house", seed=4), extent=SIZE, canvas=canvas,
        upscale=UpscaleParams(factor=1.5, strength=0.5),
    )  # fmt: skip
    fresh = open_engine("tiny", folder, "cpu").render(request)
    used = open_engine("tiny", folder, "cpu")
    _render(used, _reference())
    assert _same(fresh, used.render(request))


def test_a_pause_with_a_reference_packs_nothing_that_is_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is packed in a pause is of what it was asked for, and waits for that otherwise."""
    quickener = Quickener(None, always_quicker(), 0.4)
    engine = open_engine("tiny", folder, "cpu", pack=quickener.pack, at_work=quickener.at_work)
    quickener.wait_for_pauses()

    def render(scale: float) -> Picture:
        controls = (_reference(scale=scale),) if scale else ()
        # Of another size than the warm-up's, which was packed at once.
        return _render(engine, *controls, extent=Extent(96, 48))

    expected = {scale: render(scale) for scale in (0.0, 0.5, 1.0)}
    for scale in (0.0, 1.0):
        for _ in range(WORTH_CALLS):
            render(scale)
    for scale in (1.0, 0.0):
        render(scale)
        time.sleep(1.5)
        for _ in range(TRIAL_CALLS):
            render(scale)
    assert quickener.is_settled
    with monkeypatch.context() as patched:
        patched.setattr(UNetWithExtras, "forward", None)
        assert _near(expected[0.0], render(0.0)), "packed, when its time had come"
    for scale, picture in expected.items():
        assert _near(picture, render(scale))


def _near(one: Picture, other: Picture) -> bool:
    """Packed weights are summed up in another order."""
    return int(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max()) <= 2


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    write_image_encoder(tmp_path / "vision.safetensors")
    _write_adapter(tmp_path, "some", "plain")
    engine = open_engine("tiny", tmp_path, "cpu")
    before = _render(engine, _reference())
    _write_adapter(tmp_path, "some", "plus")
    assert not _same(before, _render(engine, _reference()))


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ("no adapter", "no IP-Adapter"),
        ("no encoder", "needs an image encoder of width 64"),
        ("another family", "another family"),
        ("face id", "no IP-Adapter"),
        ("empty layer", "empty"),
        ("no layer", "no layer"),
        ("faces wanted", "no IP-Adapter for faces"),
        ("cut", "does not match the model"),
        ("bad numbers", "not finite"),
        ("encoder cut", "is incomplete"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_goes_on(
    tmp_path: Path, flaw: str, sentence: str
) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    path = _write_adapter(tmp_path, "some", "plus")
    if flaw != "no encoder":
        write_image_encoder(tmp_path / "vision.safetensors")
    weights = load_file(path)
    if flaw == "no adapter":
        path.unlink()
    elif flaw == "another family":
        save_file({key: torch.zeros(value.shape[0], 768) if "_ip" in key else value
                   for key, value in weights.items()}, path)  # fmt: skip
    elif flaw == "face id":
        save_file({**weights, "ip_adapter.0.to_q_lora.down.weight": torch.zeros(2, 2)}, path)
    elif flaw == "cut":
        save_file({key: v for key, v in weights.items() if "1.to_k_ip" not in key}, path)
    elif flaw == "bad numbers":
        save_file({**weights, "image_proj.latents": torch.full((1, 16, 64), torch.nan)}, path)
    elif flaw == "encoder cut":
        vision = load_file(tmp_path / "vision.safetensors")
        del vision["vision_model.post_layernorm.weight"]
        save_file(vision, tmp_path / "vision.safetensors")
    control = _reference()
    if flaw == "empty layer":
        control = _reference(pixels=np.zeros((64, 64, 4), np.uint8))
    elif flaw == "no layer":
        control = _reference(pixels=None)
    elif flaw == "faces wanted":
        control = _reference(kind="face")
    engine = open_engine("tiny", tmp_path, "cpu")
    picture = _render(engine, control)
    assert sentence in picture.failures[0].sentence
    assert np.array_equal(picture.pixels, _render(engine).pixels)
    # Told at every frame, found out once.
    assert sentence in _render(engine, control).failures[0].sentence


def test_an_adapter_for_faces_is_known_by_its_name(folder: Path) -> None:
    engine = open_engine("tiny", folder, "cpu")
    bundle = engine._bundle  # pyright: ignore[reportPrivateUsage]
    library = engine.controls._library  # pyright: ignore[reportPrivateUsage]
    found = find_adapter("style", bundle.unet, "tiny", library)
    assert (found.name, found.is_for_faces, found.width, found.reads) == ("some", False, 16, 64)


def test_a_reference_leads_the_picture_in_every_region(engine: Engine) -> None:
    covered = np.full((64, 64), 255, dtype=np.uint8)
    region = Control(kind="region", pixels=covered, version=7, prompt="a boat", id="r")
    both = _render(engine, _reference(), region)
    written = _render(engine, _reference(), prompt="a boat,\na house")
    assert np.abs(both.pixels.astype(int) - written.pixels.astype(int)).max() <= 1
    alone = _render(engine, region)
    assert np.abs(both.pixels.astype(int) - alone.pixels.astype(int)).max() > 1
