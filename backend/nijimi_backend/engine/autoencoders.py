"""Pixels enter and latents leave, or the other way round, by the autoencoder that a request wants.

A model has its own; the painter may choose another one, and live frames take a quicker one of the
same latents where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import torch

from ..errors import NijimiError
from ..models.bundle import Autoencoder, ModelBundle
from ..models.library import Library
from ..models.tiny_vae import find_tiny_vae, load_tiny_vae
from ..models.vae_files import VaeRoom
from .cache import StageCache
from .frozen import Pack, frozen
from .recorded import any_quicker, quicker_work
from .request import FrameRequest, Pixels
from .stages import Coder, decode_latents, decode_tiny, encode_canvas, encode_tiny

__all__ = ["Autoencoders", "TinyFunctions"]

WORTH_CALLS = 8
"""So many canvases of one size show that it will stay."""


class Autoencoders:
    """All that one model has or was given."""

    def __init__(self, bundle: ModelBundle, library: Library | None, pack: Pack = frozen) -> None:
        self._bundle = bundle
        tiny = find_tiny_vae(bundle.info, library)
        self._live = load_tiny_vae(tiny, bundle.device) if tiny is not None else None
        self._chosen = VaeRoom(bundle, library)
        self._tiny_encoder = TinyFunctions(encode_tiny, pack)
        # On a card each of a decoder's kernels is waited for.
        decoder_pack = pack if bundle.device.is_cuda else frozen
        self._tiny_decoder = TinyFunctions(decode_tiny, decoder_pack)

    def encode(self, request: FrameRequest, rgb: Pixels) -> torch.Tensor:
        """RGB h x w x 3 becomes scaled latents 1 x C x h/8 x w/8, float32."""
        bundle, live = self.bundle_for(request), self.live_for(request)
        return encode_canvas(bundle, rgb, live, self._tiny_encoder).float()

    def decode(self, request: FrameRequest, latents: torch.Tensor) -> Pixels:
        """Scaled latents 1 x C x h x w become opaque BGRA, 8h x 8w x 4."""
        bundle, live = self.bundle_for(request), self.live_for(request)
        return decode_latents(bundle, latents, live, self._tiny_decoder)

    def coders(self, *, quicker: bool) -> tuple[Coder, Coder]:
        """What encodes and what decodes by a tiny autoencoder, as a part of more: what was made in
        its place (``quicker``), or itself as it is."""
        if quicker:
            return self._tiny_encoder.quicker, self._tiny_decoder.quicker
        return encode_tiny, decode_tiny

    @property
    def is_quicker(self) -> bool:
        """Whether anything was made in an autoencoder's place."""
        return self._tiny_encoder.is_quicker or self._tiny_decoder.is_quicker

    def bundle_for(self, request: FrameRequest) -> ModelBundle:
        """The model with the autoencoder that was chosen; with its own where that cannot be."""
        chosen = self._chosen.get(request.params.vae)
        if chosen is None or isinstance(chosen, NijimiError):
            return self._bundle
        return replace(self._bundle, vae=chosen)

    def key(self, request: FrameRequest) -> Hashable:
        """What encodes the canvas: "" is the quicker autoencoder."""
        return self._chosen.key(request.params.vae) if self.live_for(request) is None else ""

    def failure(self, request: FrameRequest) -> NijimiError | None:
        """Why the chosen one cannot be."""
        chosen = self._chosen.get(request.params.vae)
        return chosen if isinstance(chosen, NijimiError) else None

    def live_for(self, request: FrameRequest) -> Autoencoder | None:
        """A quicker one for a live frame; None for the model's own."""
        return None if request.full_quality or request.exact else self._live


class TinyFunctions:
    """Runs tiny ones by ``run``; packed for sizes that stay, where frames follow each other.

    At 256 px on two cores packing an encoder gains a tenth (19 ms instead of 21), and a decoder no
    more, which is left as it is there: a packed function a size would cost more than it gives.
    """

    def __init__(self, run: Coder, pack: Pack = frozen) -> None:
        self._run, self._pack = run, pack
        self._functions: StageCache[_Lasting] = StageCache(4)

    def __call__(self, vae: Any, read: torch.Tensor) -> torch.Tensor:
        """As ``run``."""
        if self._pack is frozen:
            return self._run(vae, read)
        made = self._functions.get(
            _key(vae, read), lambda: _Lasting(_Coding(vae, self._run), self._pack)
        )
        return made(read)

    def quicker(self, vae: Any, read: torch.Tensor) -> torch.Tensor:
        """The same by what was made in the autoencoder's place, or by itself as it is."""
        function = quicker_work(self._functions.peek(_key(vae, read)))
        return self._run(vae, read) if function is None else function(read)

    @property
    def is_quicker(self) -> bool:
        """Whether anything was made in an autoencoder's place."""
        return any_quicker(self._functions)


def _key(vae: Any, read: torch.Tensor) -> Hashable:
    """The function holds the network, so that no other one can have its id meanwhile."""
    return id(vae), read.shape


class _Coding(torch.nn.Module):
    """Tensors in and out, as packing wants it."""

    def __init__(self, vae: Any, run: Coder) -> None:
        super().__init__()
        # As the autoencoder is, which ``eval`` would walk through.
        self.training = False
        self.vae, self._run = vae, run

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        return self._run(self.vae, read)


class _Lasting:
    """The network as it is at first; packed once it has been asked often."""

    def __init__(self, network: torch.nn.Module, pack: Pack) -> None:
        self.serving: Callable[..., torch.Tensor] = network
        self._network, self._pack = network, pack
        self._calls = 0

    def __call__(self, read: torch.Tensor) -> torch.Tensor:
        self._calls += 1
        if self._calls == WORTH_CALLS:
            self.serving = self._pack(self._network, (read,))
        return self.serving(read)
