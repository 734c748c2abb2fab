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
from .request import FrameRequest, Pixels
from .stages import decode_latents, encode_canvas, encode_tiny

__all__ = ["Autoencoders", "TinyEncoder"]

WORTH_CALLS = 8
"""So many canvases of one size show that it will stay."""


class Autoencoders:
    """All that one model has or was given."""

    def __init__(self, bundle: ModelBundle, library: Library | None, pack: Pack = frozen) -> None:
        self._bundle = bundle
        tiny = find_tiny_vae(bundle.info, library)
        self._live = load_tiny_vae(tiny, bundle.device) if tiny is not None else None
        self._chosen = VaeRoom(bundle, library)
        self._tiny_encoder = TinyEncoder(pack)

    def encode(self, request: FrameRequest, rgb: Pixels) -> torch.Tensor:
        """RGB h x w x 3 becomes scaled latents 1 x C x h/8 x w/8, float32."""
        bundle, live = self.bundle_for(request), self.live_for(request)
        return encode_canvas(bundle, rgb, live, self._tiny_encoder).float()

    def decode(self, request: FrameRequest, latents: torch.Tensor) -> Pixels:
        """Scaled latents 1 x C x h x w become opaque BGRA, 8h x 8w x 4."""
        return decode_latents(self.bundle_for(request), latents, self.live_for(request))

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


class TinyEncoder:
    """Encodes by tiny autoencoders; packed for sizes that stay, where frames follow each other.

    At 256 px on two cores packing gains a tenth (19 ms instead of 21), and no more for decoders,
    which are left as they are: a packed function a size would cost more than it gives.
    """

    def __init__(self, pack: Pack = frozen) -> None:
        self._pack = pack
        self._functions: StageCache[Callable[..., torch.Tensor]] = StageCache(4)

    def __call__(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        """Images 1 x 3 x h x w from -1 to 1 become latents, not scaled, 1 x C x h/8 x w/8."""
        if self._pack is frozen:
            return encode_tiny(vae, images)
        # The function holds the network, so that no other one can have its id meanwhile.
        key = (id(vae), images.shape)
        return self._functions.get(key, lambda: _Lasting(_Encode(vae).eval(), self._pack))(images)


class _Encode(torch.nn.Module):
    """Tensors in and out, as packing wants it."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return encode_tiny(self.vae, images)


class _Lasting:
    """The network as it is at first; packed once it has been asked often."""

    def __init__(self, network: torch.nn.Module, pack: Pack) -> None:
        self._function: Callable[..., torch.Tensor] = network
        self._network, self._pack = network, pack
        self._calls = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self._calls += 1
        if self._calls == WORTH_CALLS:
            self._function = self._pack(self._network, (images,))
        return self._function(images)
