"""Rows multiplied in eight bits: near to the network's own, adapters followed, nothing left."""

# Where memory ends is played by the engine's own answer to it.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nijimi_backend.engine import card as card_module
from nijimi_backend.engine.card_eight_bit import ByteKind, CardEightBits, byte_kind
from nijimi_backend.engine.eight_bit import MUST_AGREE_DB
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.frozen import as_it_is
from nijimi_backend.engine.request import FrameRequest
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from torch import nn

KINDS = pytest.mark.parametrize("kind", list(ByteKind), ids=lambda kind: kind.value)


class Rows(nn.Module):
    """Two layers that gain, one too narrow, and one of a width that no card takes."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(64, 128)
        self.bare = nn.Linear(128, 64, bias=False)
        self.odd = nn.Linear(64, 72)
        self.narrow = nn.Linear(72, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.bare(torch.nn.functional.gelu(self.wide(x)))
        return self.narrow(self.odd(made))


@pytest.fixture
def network() -> Rows:
    torch.manual_seed(2)
    return Rows().eval().requires_grad_(False)


def noise_db(made: torch.Tensor, expected: torch.Tensor) -> float:
    error = (made - expected).square().mean()
    return float(10 * torch.log10(expected.square().mean() / error))


@KINDS
@torch.inference_mode()
def test_it_is_near_to_the_network_and_not_the_same(network: Rows, kind: ByteKind) -> None:
    x = torch.randn(2, 40, 64)
    expected = network(x)
    assert len(CardEightBits(network, kind)) == 2
    made = network(x)
    assert made.shape == expected.shape
    assert not torch.equal(made, expected)
    assert noise_db(made, expected) > (22.0 if kind is ByteKind.FLOATS else 30.0)


@KINDS
@torch.inference_mode()
def test_large_and_small_values_are_read_as_well(network: Rows, kind: ByteKind) -> None:
    CardEightBits(network, kind)
    for size in (1e-3, 1e3):
        x = torch.randn(64, 64) * size
        expected = nn.functional.linear(x, network.wide.weight, network.wide.bias)
        assert noise_db(network.wide(x), expected) > 22.0
    assert torch.isfinite(network(torch.zeros(64, 64))).all()


@KINDS
@torch.inference_mode()
def test_adapters_are_followed_where_the_copies_lie(network: Rows, kind: ByteKind) -> None:
    eight = CardEightBits(network, kind)
    x = torch.randn(64, 64)
    layer: Any = network.wide.__dict__["forward"]
    place = layer._weight.data_ptr()
    network.wide.weight.data.mul_(-2.0)
    eight.refresh()
    expected = nn.functional.linear(x, network.wide.weight, network.wide.bias)
    assert noise_db(network.wide(x), expected) > 22.0
    # Recorded work reads them there.
    assert layer._weight.data_ptr() == place


@KINDS
@torch.inference_mode()
def test_few_rows_are_multiplied_as_they_were(network: Rows, kind: ByteKind) -> None:
    x = torch.randn(2, 64)
    expected = network(x)
    CardEightBits(network, kind)
    assert torch.equal(network(x), expected)


@KINDS
@torch.inference_mode()
def test_undone_it_leaves_nothing(network: Rows, kind: ByteKind) -> None:
    x = torch.randn(64, 64)
    expected = network(x)
    eight = CardEightBits(network, kind)
    eight.undo()
    assert torch.equal(network(x), expected)
    assert len(eight) == 0


def test_layers_that_compute_otherwise_already_are_left_alone(network: Rows) -> None:
    network.wide.__dict__["forward"] = lambda x: x  # pyright: ignore[reportUnknownLambdaType]
    assert len(CardEightBits(network, ByteKind.WHOLE)) == 1


def test_there_is_nothing_for_a_cpu() -> None:
    assert byte_kind(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("capability", "kind"),
    [((9, 0), ByteKind.FLOATS), ((8, 9), ByteKind.FLOATS), ((8, 0), ByteKind.WHOLE),
     ((7, 5), ByteKind.WHOLE), ((7, 0), None)],
)  # fmt: skip
def test_cards_differ_in_what_they_multiply(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], kind: ByteKind | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert byte_kind(torch.device("cuda")) is kind


@pytest.fixture(scope="module")
def mini() -> Engine:
    """The embedded model, whose weights are trained ones."""
    return open_engine("", None, "cpu", pack=as_it_is)


def picture(engine: Engine) -> Any:
    canvas = np.full((256, 256, 4), 255, dtype=np.uint8)
    canvas[120:, :, :3] = (60, 150, 70)
    canvas[60:140, 90:170, :3] = (40, 60, 200)
    params = RenderParams(prompt="a red house on a meadow", seed=3, num_inference_steps=4)
    extent = Extent(256, 256)
    request = FrameRequest(params=params, extent=extent, canvas=canvas, canvas_version=1)
    return engine.render(request).pixels


@KINDS
def test_pictures_are_near_to_what_they_were(mini: Engine, kind: ByteKind) -> None:
    before = picture(mini)
    assert mini.round_rows(kind)
    made = picture(mini)
    assert not np.array_equal(made, before)
    assert cv2.PSNR(made, before) > MUST_AGREE_DB
    # As where memory ends.
    mini._let_go()
    assert np.array_equal(picture(mini), before)


def test_pictures_that_would_be_others_are_made_as_before(
    mini: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(mini)
    monkeypatch.setattr(card_module, "MUST_AGREE_DB", 90.0)
    assert not mini.round_rows(ByteKind.WHOLE)
    assert np.array_equal(picture(mini), before)


def test_adapters_are_laid_on_rounded_weights(mini: Engine) -> None:
    unet: Any = mini._bundle.unet
    assert mini.round_rows(ByteKind.WHOLE)
    before = picture(mini)
    layers = [m for m in unet.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        layer.weight.data.mul_(1.2)
    mini.denoiser.weights_changed(is_plain=False, in_place=True)
    changed = picture(mini)
    for layer in layers:
        layer.weight.data.div_(1.2)
    mini.denoiser.weights_changed(is_plain=True, in_place=True)
    after = picture(mini)
    mini._let_go()
    assert cv2.PSNR(changed, before) < 30.0 < cv2.PSNR(after, before)


def test_on_a_cpu_rows_stay_as_they_are(mini: Engine) -> None:
    assert not mini.round_rows(byte_kind(torch.device("cpu")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@torch.inference_mode()
def test_rows_of_eight_bits_on_a_card(network: Rows) -> None:
    device = torch.device("cuda")
    kind = byte_kind(device)
    if kind is None:
        pytest.skip("this card multiplies no bytes faster than halves")
    network.to(device, torch.float16)
    x = torch.randn(256, 64, device=device, dtype=torch.float16)
    expected = network(x)
    CardEightBits(network, kind)
    assert noise_db(network(x).float(), expected.float()) > 22.0
