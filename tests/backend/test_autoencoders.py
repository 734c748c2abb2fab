"""Which autoencoder a request is encoded by, and when its encoder is packed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from nijimi_backend.engine.autoencoders import WORTH_CALLS, TinyFunctions
from nijimi_backend.engine.recorded import Recorder
from nijimi_backend.engine.stages import decode_tiny, encode_tiny

from tests.backend.test_recorded import stand_in


class Vae(torch.nn.Module):
    """Latents that tell which one made them."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def encode(self, images: torch.Tensor) -> Any:
        return SimpleNamespace(latents=torch.full_like(images[:, :1], self.value))

    def decode(self, latents: torch.Tensor) -> Any:
        return SimpleNamespace(sample=torch.full_like(latents, self.value))


class Packer:
    """Packs by adding a hundred, so that it shows."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(
        self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> Callable[..., Any]:
        self.sizes.append(inputs[0].shape[-1])
        return lambda images: network(images) + 100.0


def images(side: int) -> torch.Tensor:
    return torch.zeros(1, 3, side, side)


def test_an_encoder_is_packed_once_its_size_has_stayed() -> None:
    pack = Packer()
    encode, vae = TinyFunctions(encode_tiny, pack), Vae(1.0)
    values = [float(encode(vae, images(64)).max()) for _ in range(WORTH_CALLS + 2)]
    assert values == [1.0] * (WORTH_CALLS - 1) + [101.0] * 3
    assert encode(vae, images(32)).max() == 1.0
    assert pack.sizes == [64]


def test_two_autoencoders_are_not_mixed_up() -> None:
    encode, one, other = TinyFunctions(encode_tiny, Packer()), Vae(1.0), Vae(2.0)
    for _ in range(WORTH_CALLS):
        encode(one, images(64))
    assert encode(one, images(64)).max() == 101.0
    assert encode(other, images(64)).max() == 2.0


def test_torch_s_own_packing_is_left_alone() -> None:
    encode, vae = TinyFunctions(encode_tiny), Vae(3.0)
    assert all(float(encode(vae, images(64)).max()) == 3.0 for _ in range(WORTH_CALLS + 2))


@torch.inference_mode()
def test_what_was_made_in_its_place_is_found_for_a_part_of_more() -> None:
    recorder, made = Recorder(stand_in), 0

    def pack(network: torch.nn.Module, _inputs: tuple[torch.Tensor, ...]) -> Callable[..., Any]:
        def compiled(read: torch.Tensor) -> torch.Tensor:
            nonlocal made
            made += 1
            return network(read)

        return recorder.pack_at_once(compiled, network)

    decode, vae = TinyFunctions(decode_tiny, pack), Vae(5.0)
    assert (decode.quicker(vae, images(64)).max(), made) == (5.0, 0)
    for _ in range(WORTH_CALLS):
        decode(vae, images(64))
    assert decode.is_quicker
    before = made
    assert (decode.quicker(vae, images(64)).max(), made) == (5.0, before + 1)
    assert (decode.quicker(vae, images(32)).max(), made) == (5.0, before + 1)


def test_a_recording_of_the_network_itself_is_no_other_one() -> None:
    recorder = Recorder(stand_in)
    decode, vae = TinyFunctions(decode_tiny, recorder.pack), Vae(5.0)
    for _ in range(2 * WORTH_CALLS):
        decode(vae, images(64))
    assert not decode.is_quicker
    assert decode.quicker(vae, images(64)).max() == 5.0
