"""A ControlNet on a stream of its own: begun before the UNet, waited for behind its encoder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.asks import finish
from nijimi_backend.engine.beside import Beside, cuda_streams
from nijimi_backend.engine.control.residuals import ControlRoom, Steering
from nijimi_backend.engine.denoiser import Denoiser, Guidance, Start
from nijimi_backend.engine.frozen import as_it_is
from nijimi_backend.engine.prompt.encode import Conditioning
from nijimi_backend.engine.request import Control
from nijimi_backend.engine.samplers import LcmRun
from nijimi_backend.engine.sampling import Schedule
from nijimi_backend.models.bundle import ModelBundle
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent

from tests.support.tiny_control import write_adapter, write_controlnet
from tests.support.tiny_model import write_tiny_model

SIZE = Extent(64, 64)


class Noted:
    """Two streams that note what is asked of them."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @contextmanager
    def second(self) -> Generator[None]:
        self.log.append("apart")
        yield
        self.log.append("on")

    def second_waits(self) -> None:
        self.log.append("second waits")

    def first_waits(self) -> None:
        self.log.append("first waits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    write_tiny_model(folder / "tiny", attention_first=True)
    write_controlnet(folder / "controlnet" / "lines", kind="scribble")
    write_adapter(folder / "controlnet" / "t2iadapter_canny", in_channels=1)
    return folder


@pytest.fixture
def bundle(folder: Path) -> ModelBundle:
    library = Library([folder])
    return load_model(library.find_model("tiny"), choose_device("cpu"))


def steering(bundle: ModelBundle, folder: Path, *kinds: str) -> Steering:
    lines = np.zeros((64, 64, 4), dtype=np.uint8)
    lines[20:24, :, 3] = 255
    controls = [Control(kind=kind, pixels=lines, version=1) for kind in kinds]
    room = ControlRoom(bundle, Library([folder]), as_it_is)
    made, failed = room.prepare(controls, SIZE, SIZE.bounds, SIZE)
    assert not failed
    return made


def predicted(
    bundle: ModelBundle, steering: Steering, beside: Beside | None, log: list[str] | None = None
) -> torch.Tensor:
    """One step, whose way through the UNet is noted beside what the streams do."""
    denoiser = Denoiser(bundle, None, as_it_is, beside)
    torch.manual_seed(1)
    latents = torch.randn(1, 4, 8, 8)
    embeds = torch.randn(1, 77, 16)
    run = LcmRun((499,), Schedule.from_config(bundle.scheduler_config))
    start = Start(latents=latents, noise=latents[None], run=run)
    guidance = Guidance(by_step=[Conditioning(embeds=embeds)], scale=1.0)
    unet: Any = bundle.unet
    hooks: list[Any] = []
    if log is not None:
        for name, module in (("encoder", unet.down_blocks[0]), ("middle", unet.mid_block)):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: log.append(name)))
    try:
        with torch.inference_mode():
            return finish(denoiser.predict(start, guidance, latents, 0, None, steering))
    finally:
        for hook in hooks:
            hook.remove()


def test_the_unet_waits_behind_its_encoder(bundle: ModelBundle, folder: Path) -> None:
    streams = Noted()
    controls = steering(bundle, folder, "scribble")
    made = predicted(bundle, controls, Beside(streams), streams.log)
    assert streams.log == ["second waits", "apart", "on", "encoder", "first waits", "middle"]
    assert torch.equal(made, predicted(bundle, controls, None))


def test_without_controls_nothing_waits(bundle: ModelBundle, folder: Path) -> None:
    streams = Noted()
    predicted(bundle, Steering(()), Beside(streams), streams.log)
    assert streams.log == ["encoder", "middle"]


def test_features_that_the_encoder_reads_are_not_made_apart(
    bundle: ModelBundle, folder: Path
) -> None:
    streams = Noted()
    both = steering(bundle, folder, "scribble", "canny")
    predicted(bundle, both, Beside(streams), streams.log)
    assert streams.log == ["encoder", "middle"]


def test_a_network_that_fails_leaves_no_hook_and_nothing_unawaited(
    bundle: ModelBundle, folder: Path
) -> None:
    streams = Noted()
    beside = Beside(streams)
    block = torch.nn.Linear(2, 2)
    with beside.apart():
        pass
    with pytest.raises(RuntimeError), beside.joined_after(block):
        raise RuntimeError
    assert streams.log[-1] == "first waits"
    block(torch.zeros(1, 2))
    assert streams.log.count("first waits") == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_two_streams_of_a_card_give_what_one_gives(folder: Path) -> None:
    library = Library([folder])
    bundle = load_model(library.find_model("tiny"), choose_device("cuda"))
    controls = steering(bundle, folder, "scribble")
    denoiser = Denoiser(bundle, None, as_it_is, Beside(cuda_streams()))
    assert denoiser.pack is as_it_is
    run = LcmRun((499,), Schedule.from_config(bundle.scheduler_config))
    latents = torch.randn(1, 4, 8, 8, device="cuda")
    embeds = torch.randn(1, 77, 16, device="cuda", dtype=bundle.device.dtype)
    start = Start(latents=latents, noise=latents[None], run=run)
    guidance = Guidance(by_step=[Conditioning(embeds=embeds)], scale=1.0)
    made: list[torch.Tensor] = []
    with torch.inference_mode():
        for each in (denoiser, Denoiser(bundle, None, as_it_is)):
            for _ in range(20):
                made.append(finish(each.predict(start, guidance, latents, 0, None, controls)))
    assert all(torch.allclose(one, made[0], atol=1e-2) for one in made)
