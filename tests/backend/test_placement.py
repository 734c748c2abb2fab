"""Memory that runs out: what is given up for it, in which order, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from nijimi_backend.engine import autoencoders
from nijimi_backend.engine import engine as engine_module
from nijimi_backend.engine import frozen as frozen_module
from nijimi_backend.engine import inpainting as inpainting_module
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.errors import OutOfMemory
from nijimi_backend.models.device import Device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.placement import Measure, Placement
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from benchmarks.real_flow import write_sd3_folder, write_zimage_folder
from benchmarks.workbench import CPU
from tests.support.tiny_model import write_tiny_model

DEVICE, HOME = torch.device("cuda"), torch.device("cpu")


class Network(torch.nn.Module):
    """Says where it lies, without a device that this machine may lack."""

    def __init__(self) -> None:
        super().__init__()
        self.place = HOME

    def parameters(self, recurse: bool = True) -> Any:
        return iter([mock.Mock(device=self.place)])

    def to(self, *args: Any, **options: Any) -> Any:
        (self.place,) = args
        return self


@pytest.fixture
def networks() -> dict[str, Network]:
    return {name: Network() for name in ("text_encoder", "unet", "vae")}


def _places(networks: dict[str, Network]) -> dict[str, str]:
    return {name: network.place.type for name, network in networks.items()}


def test_all_lie_on_the_device_while_there_is_room(networks: dict[str, Network]) -> None:
    placement = Placement(DEVICE)
    placement.settle(networks, 8)
    with placement.at_work(networks["vae"]):
        assert set(_places(networks).values()) == {"cuda"}
    assert set(_places(networks).values()) == {"cuda"}


def test_measures_come_in_their_order_and_each_is_told(networks: dict[str, Network]) -> None:
    placement = Placement(DEVICE)
    placement.settle(networks, 8)
    with mock.patch.object(torch.cuda, "empty_cache"):
        told = [placement.give_up_more() for _ in range(4)]
    assert [("tiles" in str(each), "wait" in str(each), "turns" in str(each)) for each in told] == [
        (True, False, False), (False, True, False), (False, False, True), (False,) * 3
    ]  # fmt: skip
    assert told[3] is None


@pytest.mark.parametrize(
    ("measure", "while_vae", "after_vae", "while_unet"),
    [
        (Measure.WAITING, "home cuda cuda", "home cuda home", "home cuda home"),
        (Measure.TURNS, "home home cuda", "home home home", "home cuda home"),
    ],
)
def test_who_waits_comes_for_its_work_only(
    networks: dict[str, Network], measure: Measure, while_vae: str, after_vae: str,
    while_unet: str,
) -> None:  # fmt: skip
    def told() -> str:
        return " ".join(_places(networks).values()).replace("cpu", "home")

    placement = Placement(DEVICE)
    placement.measure = measure
    placement.settle(networks, 8)
    with placement.at_work(networks["unet"]):
        assert told() == while_unet
    with placement.at_work(networks["vae"]):
        assert told() == while_vae
    assert told() == after_vae
    with placement.at_work(networks["unet"]):
        with placement.at_work(networks["vae"]):
            assert told() == while_vae
        assert told() == while_unet
    with placement.at_work(networks["vae"]):
        pass
    with pytest.raises(ValueError, match="lost"), placement.at_work(networks["vae"]):
        raise ValueError("lost")
    assert told() == after_vae


@pytest.mark.parametrize(
    ("weights", "free", "budget", "measure"),
    [(10, 100, None, Measure.NONE), (90, 100, None, Measure.WAITING),
     (10, 100, 11, Measure.WAITING), (10, 100, 20, Measure.NONE)],
)  # fmt: skip
def test_what_cannot_fit_waits_from_the_start(
    weights: int, free: int, budget: int | None, measure: Measure
) -> None:
    device = Device(torch_device=DEVICE, dtype=torch.float16, title="GPU", budget_bytes=budget)
    with mock.patch.object(torch.cuda, "mem_get_info", return_value=(free, 1000)):
        assert Placement.for_model(device, weights, "big").measure is measure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "tiny", full_vae=True)
    return tmp_path


def test_a_model_beyond_the_painters_own_bound_is_refused(folder: Path) -> None:
    with pytest.raises(OutOfMemory, match="that Nijimi may use"):
        open_engine("tiny", folder, "cpu", budget_bytes=1000)
    assert open_engine("tiny", folder, "cpu", budget_bytes=10**9).model.name == "tiny"


def _render(engine: Engine) -> Picture:
    canvas = np.full((300, 300, 4), 200, np.uint8)
    params = RenderParams(prompt="sea", num_inference_steps=1, strength=0.5, seed=2)
    request = FrameRequest(params=params, extent=Extent(300, 300), canvas=canvas, canvas_version=1)
    with mock.patch.object(engine_module, "render_extent", return_value=Extent(320, 320)):
        return engine.render(request)


def _fails_unless(may: Callable[[Any], bool], error: Exception) -> Any:
    whole = autoencoders.decode_latents

    def decode(bundle: Any, latents: Any, *how: Any) -> Any:
        if not may(bundle.vae):
            raise error
        return whole(bundle, latents, *how)

    return mock.patch.object(autoencoders, "decode_latents", decode)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
     RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    ids=["cuda", "python", "cpu"],
)  # fmt: skip
def test_a_picture_that_does_not_fit_is_decoded_in_tiles_and_that_is_told_once(
    folder: Path, error: Exception
) -> None:
    engine = open_engine("tiny", folder, "cpu")
    plain = _render(engine)
    with _fails_unless(lambda vae: vae.use_tiling, error):
        first, second = _render(engine), _render(engine)
    assert ["tiles" in str(each) for each in first.failures] == [True]
    assert not second.failures
    assert first.pixels.shape == plain.pixels.shape
    assert np.array_equal(first.pixels, second.pixels)


def test_where_nothing_is_left_to_give_up_it_is_said_and_the_engine_lives(folder: Path) -> None:
    engine = open_engine("tiny", folder, "cpu")
    with (
        _fails_unless(lambda vae: False, torch.OutOfMemoryError("CUDA out of memory")),
        pytest.raises(OutOfMemory, match="does not fit"),
    ):
        _render(engine)
    assert _render(engine).pixels.any()


def test_other_errors_are_not_taken_for_it(folder: Path) -> None:
    engine = open_engine("tiny", folder, "cpu")
    with (
        _fails_unless(lambda vae: False, RuntimeError("shapes do not match")),
        pytest.raises(RuntimeError, match="shapes"),
    ):
        _render(engine)
    assert not _render(engine).failures


class Watched(Placement):
    """Waiting is only noted, and who is used while it waits is caught: main memory stands in for a
    device that this machine may lack."""

    def __init__(self, measure: Measure) -> None:
        super().__init__(torch.device("cpu"), home=torch.device("meta"))
        self.measure = measure
        self.away: set[torch.nn.Module] = set()
        self.moves = 0

    def _move(self, network: torch.nn.Module, target: torch.device) -> None:
        is_away = target.type == "meta"
        self.moves += is_away != (network in self.away)
        (self.away.add if is_away else self.away.discard)(network)

    def watch(self, network: torch.nn.Module) -> None:
        def used(_module: object, _inputs: object) -> None:
            assert network not in self.away, "it was used while it waited"

        for module in network.modules():
            module.register_forward_pre_hook(used)


def _pictures(engine: Engine) -> list[Any]:
    """One of each kind, live and final."""
    canvas = np.random.default_rng(1).integers(0, 255, (64, 64, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    kinds: list[dict[str, Any]] = [
        {"mode": RenderMode.TXT2IMG}, {"mode": RenderMode.IMG2IMG}, {"mode": RenderMode.INPAINT},
        {"guidance_scale": 3.0, "negative_prompt": "blur"}, {"prompt": "a (tall:1.3) house"},
    ]  # fmt: skip
    made: list[Any] = []
    size = Extent(64, 64)
    for n, changes in enumerate(kinds):
        params = replace(RenderParams(num_inference_steps=2, strength=0.6, seed=n), **changes)
        upscale = UpscaleParams(factor=2.0, strength=0.3) if n == 1 else None
        looks: list[Any] = []
        request = FrameRequest(
            params=params, extent=size, canvas=canvas, canvas_version=n + 1, mask=mask,
            mask_version=1, full_quality=n == 0, upscale=upscale, on_look=looks.append,
        )  # fmt: skip
        with (
            mock.patch.object(engine_module, "render_extent", return_value=size),
            mock.patch.object(inpainting_module, "render_extent", return_value=size),
        ):
            picture = engine.render(request)
        assert not picture.failures
        made += [picture.pixels, *looks]
    return made


@pytest.mark.parametrize("measure", [Measure.WAITING, Measure.TURNS])
@pytest.mark.parametrize("write", [write_tiny_model, write_sd3_folder, write_zimage_folder])
def test_every_network_is_brought_before_it_is_used(
    tmp_path: Path, write: Callable[..., object], measure: Measure
) -> None:
    options = {"full_vae": True} if write is write_tiny_model else {}
    write(tmp_path / "model", **options)
    bundle = load_model(Library([tmp_path]).find_model("model"), CPU)
    with mock.patch.object(frozen_module, "MAX_FROZEN_PARAMETERS", 0):
        plain = _pictures(Engine(bundle))
        watched = Watched(measure)
        for network in bundle.networks.values():
            watched.watch(network)
        watched.settle(bundle.networks, bundle.latent_scale)
        assert bundle.vae in watched.away
        made = _pictures(Engine(replace(bundle, placement=watched)))
    assert watched.moves > 10
    assert all(np.array_equal(a, b) for a, b in zip(plain, made, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("measure", [Measure.NONE, Measure.WAITING, Measure.TURNS])
def test_on_a_card_the_networks_come_and_go(tmp_path: Path, measure: Measure) -> None:
    write_zimage_folder(tmp_path / "model")
    device = Device(torch_device=DEVICE, dtype=torch.float32, title="GPU")
    bundle = load_model(Library([tmp_path]).find_model("model"), device)
    plain = _pictures(Engine(bundle))
    bundle.placement.measure = measure
    bundle.placement.settle(bundle.networks, bundle.latent_scale)
    made = _pictures(Engine(bundle))
    where = {name: next(net.parameters()).device.type for name, net in bundle.networks.items()}
    assert where["vae"] == ("cuda" if measure is Measure.NONE else "cpu")
    assert all(np.array_equal(a, b) for a, b in zip(plain, made, strict=True))
