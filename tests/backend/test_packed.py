"""Large networks' weights as the processor reads them: same pictures, and never old weights."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nijimi_backend.engine import denoiser as denoiser_module
from nijimi_backend.engine import quickened as quickened_module
from nijimi_backend.engine.attention import Attending
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.engine.packed import WORTH_CALLS, LargePack, PackedFunction, turns_weights
from nijimi_backend.engine.quickened import QuickPack
from nijimi_backend.engine.request import FrameRequest
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from torch import nn

from tests.support.tiny_model import write_tiny_model

needs_mkldnn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)
pytestmark = needs_mkldnn


class Small(nn.Module):
    """A convolution of each kind, and a row of products."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, padding=1)
        self.down = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.apart = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
        self.mirrored = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")
        self.rows = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.mirrored(self.apart(self.down(self.first(x))))
        return self.rows(made.flatten(2).transpose(1, 2))


def plain(_size_bytes: int) -> bool:
    return True


@pytest.fixture
def network() -> Small:
    torch.manual_seed(3)
    return Small().eval().requires_grad_(False)


def settled(pack: LargePack, network: nn.Module, x: torch.Tensor) -> PackedFunction:
    function = pack.pack(network)
    for _ in range(WORTH_CALLS):
        function(x)
    return function


@torch.inference_mode()
@pytest.mark.parametrize("side", [16, 24])
def test_it_gives_what_the_network_gives_at_any_size(network: Small, side: int) -> None:
    x = torch.randn(1, 4, side, side).to(memory_format=torch.channels_last)
    function = settled(LargePack(plain), network, torch.randn(1, 4, 16, 16))
    assert torch.allclose(function(x), network(x), atol=1e-5)


@torch.inference_mode()
def test_the_network_itself_is_as_it_was(network: Small) -> None:
    x = torch.randn(1, 4, 16, 16)
    function = settled(LargePack(plain), network, x)
    function(x)
    assert all("forward" not in module.__dict__ for module in network.modules())
    with pytest.raises(RuntimeError):
        function(torch.randn(1, 3, 16, 16))
    assert all("forward" not in module.__dict__ for module in network.modules())


@torch.inference_mode()
def test_new_weights_come_with_a_new_function(network: Small) -> None:
    x = torch.randn(1, 4, 16, 16)
    pack = LargePack(plain)
    function = settled(pack, network, x)
    function(x)
    for parameter in network.parameters():
        parameter.data.mul_(0.5)
    # This is what tells that the weights are held.
    assert not torch.allclose(function(x), network(x), atol=1e-3)
    del function
    gc.collect()
    assert torch.allclose(settled(pack, network, x)(x), network(x), atol=1e-5)


@torch.inference_mode()
def test_functions_of_two_sizes_share_the_weights(network: Small) -> None:
    asked: list[int] = []

    def may_take(size_bytes: int) -> bool:
        asked.append(size_bytes)
        return True

    pack = LargePack(may_take)
    kept = [settled(pack, network, torch.randn(1, 4, side, side)) for side in (16, 24, 32)]
    assert len(kept) == 3
    assert len(asked) == 1


@torch.inference_mode()
def test_without_room_the_network_serves(network: Small) -> None:
    asked: list[int] = []
    x = torch.randn(1, 4, 16, 16)
    function = settled(LargePack(lambda size: bool(asked.append(size))), network, x)
    for parameter in network.parameters():
        parameter.data.mul_(0.5)
    assert torch.equal(function(x), network(x))
    weights = (network.first, network.down, network.apart, network.rows)
    assert asked == [sum(each.weight.nbytes for each in weights)]


@torch.inference_mode()
def test_a_network_without_such_layers_is_told_nothing_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    norm = nn.GroupNorm(2, 4)
    x = torch.randn(1, 4, 8, 8)
    function = settled(LargePack(plain), norm, x)
    assert torch.equal(function(x), norm(x))
    assert not function.is_packed
    assert not caplog.records


@pytest.mark.parametrize("may_hold_twice", [True, False])
def test_weights_are_held_once_where_memory_is_bounded(
    network: Small, monkeypatch: pytest.MonkeyPatch, may_hold_twice: bool
) -> None:
    monkeypatch.setattr(quickened_module, "turns_weights", lambda _device, _dtype: True)
    monkeypatch.setattr(quickened_module, "is_large", lambda _network: True)
    packed = QuickPack(may_hold_twice)(network, (torch.randn(1, 4, 16, 16),))
    packed = packed.function if isinstance(packed, Attending) else packed
    assert isinstance(packed, PackedFunction) == may_hold_twice
    assert (packed is network) != may_hold_twice


def test_only_bfloat16_on_a_cpu_is_turned() -> None:
    assert not turns_weights(torch.device("cuda"), torch.bfloat16)
    assert not turns_weights(torch.device("cpu"), torch.float32)


def test_loras_come_and_go_as_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickened_module, "turns_weights", lambda _device, _dtype: True)
    for module in (denoiser_module, quickened_module):
        monkeypatch.setattr(module, "is_large", lambda _network: True)
    write_tiny_model(tmp_path / "tiny")
    write_tiny_model(tmp_path / "other", lora=True)
    (tmp_path / "loras").mkdir()
    shutil.copy(
        tmp_path / "other" / "lcm_lora" / "pytorch_lora_weights.safetensors",
        tmp_path / "loras" / "ink.safetensors",
    )
    plain_one = open_engine("tiny", tmp_path, "cpu")
    packs = open_engine("tiny", tmp_path, "cpu", pack=QuickPack())
    canvas = np.full((64, 64, 4), 120, dtype=np.uint8)
    seen: list[float] = []
    for n, prompt in enumerate(["a boat", "a boat <lora:ink:4>", "a boat <lora:ink:1>", "a boat"]):
        pictures: list[np.ndarray] = []
        for engine in (plain_one, packs):
            params = RenderParams(prompt=prompt, num_inference_steps=4, seed=n)
            request = FrameRequest(
                params=params, extent=Extent(64, 64), canvas=canvas, canvas_version=1
            )
            # The second and third frames are made by turned weights.
            made = [engine.render(request) for _ in range(3)]
            assert not any(picture.failures for picture in made)
            pictures.append(made[-1].pixels.astype(np.int16))
        assert np.abs(pictures[0] - pictures[1]).max() <= 2, prompt
        seen.append(float(pictures[0].mean()))
    assert len(set(seen)) > 2
    kept = packs.denoiser._unets._kept  # pyright: ignore[reportPrivateUsage]
    functions = [each.function if isinstance(each, Attending) else each for each in kept.values()]
    assert functions
    assert all(isinstance(each, PackedFunction) and each.is_packed for each in functions)
