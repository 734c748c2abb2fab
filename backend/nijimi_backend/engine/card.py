"""A model's networks on a graphics card enter; what makes them quicker there leaves, and can go.

Nothing of it changes what a frame is made of: attention's kernel, layers that read the same, whole
frames that are recorded. Only eight bits do, which the painter chooses, and which are compared with
what was there before. On a CPU none of it is done, unless a test wants it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager

import cv2

from ..models.bundle import ModelBundle
from .autoencoders import Autoencoders
from .beside import Beside, Streams, cuda_streams
from .card_attention import AskedShapes, kernels_of, prefer, put_back, quickest
from .card_eight_bit import ByteKind, CardEightBits
from .denoiser import Denoiser
from .eight_bit import MUST_AGREE_DB
from .joined import JoinedLayers
from .recorded import Recorder
from .request import Pixels
from .whole_frame import WholeFrames

__all__ = ["Card"]

log = logging.getLogger(__name__)


class Card:
    """What is done for one model. For one thread only.

    ``joined``: the UNet's layers that are one product; None where they are not. ``whole``: frames
    that are recorded whole, by ``recorder``; None without one.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        vaes: Autoencoders,
        recorder: Recorder | None,
        version: Callable[[], Hashable],
        by_steps: Callable[[], Denoiser],
        *,
        streams: Streams | None = None,
        joins: bool | None = None,
    ) -> None:
        """``version``: counts changes of the UNet other than of its weights. ``by_steps``: what
        makes frames step by step. ``streams`` and ``joins``: None for what suits the device."""
        self._bundle = bundle
        is_cuda = bundle.device.is_cuda
        joins = is_cuda if joins is None else joins
        self.joined = JoinedLayers(bundle.unet) if joins and not bundle.is_flow else None
        self.whole: WholeFrames | None = None
        if recorder is not None:
            streams = cuda_streams() if streams is None and is_cuda else streams
            beside = None if streams is None else Beside(streams)
            self.whole = WholeFrames(bundle, vaes, recorder, by_steps, beside, version, self.joined)
        self._eight_bits: CardEightBits | None = None

    @contextmanager
    def choosing_attention(self) -> Generator[None]:
        """Within, a picture is made; then its attentions' kernel is chosen."""
        device = self._bundle.device
        if not device.is_cuda:
            yield
            return
        put_back()
        with AskedShapes() as asked:
            yield
        card = device.torch_device
        prefer(quickest(asked.counts, card, device.dtype, kernels_of(card)))

    def round_rows(self, kind: ByteKind, render: Callable[[], Pixels]) -> bool:
        """Multiply the network's rows in eight bits; whether it is done. Not where a picture would
        be less near to what it was than ``MUST_AGREE_DB``. ``render``: makes one, of the weights
        as they are now."""
        before = render()
        if self.joined is not None:
            # Each layer has weights and scales of its own.
            self.joined.undo()
        self._eight_bits = CardEightBits(self._bundle.unet, kind)
        nearness_db = cv2.PSNR(before, render())
        agrees = nearness_db >= MUST_AGREE_DB
        log.info("%s products give %.1f dB of the picture before, so that they %s",
                 kind.value, nearness_db, "stay" if agrees else "go")  # fmt: skip
        return agrees

    def weights_changed(self) -> None:
        """Adapters were laid on, or taken off, in place."""
        if self._eight_bits is not None:
            self._eight_bits.refresh()

    def let_go(self) -> bool:
        """What takes memory and can be done without; whether the UNet computes otherwise now, so
        that what was recorded of it counts no more."""
        if self.whole is not None:
            self.whole.clear()
        if self._eight_bits is None:
            return False
        self._eight_bits.undo()
        self._eight_bits = None
        return True
