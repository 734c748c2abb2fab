"""A device and how much of it may be used enter; where a model's networks lie leaves.

Each measure costs time, so that it is taken only when memory has run out, in this order: the full
autoencoder works on smaller tiles; text encoders and autoencoder wait in main memory while they
have nothing to do; the network that denoises waits there, too, while another one works.
"""

from __future__ import annotations

import enum
import gc
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import OutOfMemory
from .device import Device

__all__ = ["Measure", "Placement"]

log = logging.getLogger(__name__)

_TILE_PX = 256
_WORK_SHARE = 0.2
"""Of the weights' bytes: what a picture takes beside them, roughly."""


class Measure(enum.IntEnum):
    """What was given up for memory so far; each holds those before it."""

    NONE = 0
    TILES = 1
    WAITING = 2
    TURNS = 3


_TOLD = {
    Measure.TILES: "Memory is short: pictures are now decoded in tiles, which takes longer.",
    Measure.WAITING: "Memory is short: text encoder and autoencoder now wait in main memory, which "
    "takes longer.",
    Measure.TURNS: "Memory is short: the networks now take turns on the device, which is slow.",
}


class Placement:
    """Where the networks of one model lie. Not thread-safe.

    ``home`` is main memory, where networks wait; on a machine whose device is main memory itself
    nothing waits, and only tiles help.
    """

    def __init__(self, device: torch.device, home: torch.device | None = None) -> None:
        self._device = device
        self._home = home or torch.device("cpu")
        self._networks: dict[str, torch.nn.Module] = {}
        self._latent_scale = 8
        self._last = Measure.TILES if device == self._home else Measure.TURNS
        self._working: torch.nn.Module | None = None
        self.measure = Measure.NONE

    @classmethod
    def for_model(cls, device: Device, weights_bytes: int, title: str) -> Placement:
        """Taken at the start where the weights are known not to fit.

        Raises ``OutOfMemory`` where the painter's own bound leaves no way.
        """
        placement = cls(device.torch_device)
        room, bound = _room_bytes(device), device.budget_bytes
        if room is not None and weights_bytes * (1.0 + _WORK_SHARE) > room:
            if not device.is_cuda:
                raise OutOfMemory(
                    f"The model {title} takes {weights_bytes / 2**30:.1f} GiB of memory, more than "
                    f"the {(bound or 0) / 2**30:.1f} GiB that Nijimi may use.",
                    "Choose a smaller model, or allow more memory in the settings.",
                )
            placement.measure = Measure.WAITING
            log.warning("%s does not fit at once: %s", title, _TOLD[Measure.WAITING])
        return placement

    def settle(self, networks: Mapping[str, torch.nn.Module], latent_scale: int) -> None:
        """Move each network to where it begins; ``unet`` is the one that denoises.

        ``latent_scale``: pixels to a cell of its latents, per side.
        """
        self._networks = dict(networks)
        self._latent_scale = latent_scale
        self._arrange()

    def give_up_more(self) -> OutOfMemory | None:
        """Take the next measure after memory ran out: what to tell of it, or None: none is left."""
        self._collect()
        if self.measure >= self._last:
            return None
        self.measure = Measure(self.measure + 1)
        self._arrange()
        self._collect()
        log.warning("%s", _TOLD[self.measure])
        return OutOfMemory(
            _TOLD[self.measure], "Close other programs and choose the model again for full speed."
        )

    @contextmanager
    def at_work(self, network: torch.nn.Module) -> Generator[None]:
        """The network on the device for as long as the block runs.

        Blocks may lie within one another: the outer one's network comes back after the inner one's.
        """
        outer = self._working
        self._working = network
        self._bring(network)
        try:
            yield
        finally:
            self._working = outer
            if self.measure >= Measure.WAITING and network is not self._networks.get("unet"):
                self._move(network, self._home)
            if outer is not None:
                self._bring(outer)

    def _bring(self, network: torch.nn.Module) -> None:
        if self.measure < Measure.WAITING:
            return
        unet = self._networks.get("unet")
        if self.measure >= Measure.TURNS and unet is not None and unet is not network:
            self._move(unet, self._home)
        self._move(network, self._device)

    def _arrange(self) -> None:
        for name, network in self._networks.items():
            waits = self.measure >= Measure.WAITING and name != "unet"
            self._move(network, self._home if waits else self._device)
            if name == "vae":
                self.tile(network)

    def tile(self, vae: Any) -> None:
        """Smaller tiles for an autoencoder, once memory has run out."""
        if self.measure >= Measure.TILES and hasattr(vae, "enable_tiling"):
            vae.enable_tiling()
            vae.tile_sample_min_size = _TILE_PX
            vae.tile_latent_min_size = _TILE_PX // self._latent_scale

    def _move(self, network: torch.nn.Module, target: torch.device) -> None:
        first = next(network.parameters(), None)
        if first is not None and first.device != target:
            network.to(target)

    def _collect(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _room_bytes(device: Device) -> int | None:
    """What weights may take at most; None where nothing says so: main memory can be swapped."""
    if not device.is_cuda:
        return device.budget_bytes
    free = int(torch.cuda.mem_get_info(device.torch_device)[0])
    return free if device.budget_bytes is None else min(free, device.budget_bytes)
