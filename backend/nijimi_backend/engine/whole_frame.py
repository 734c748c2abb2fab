"""A live frame's pixels, noises, words and hints enter; its pixels leave, by one piece of work.

On a graphics card each network is recorded by itself (``recorded``), which serves any frame. Where
frames follow each other that differ only in what is painted, said and hinted, all of a frame is one
CUDA graph: bytes go in, are encoded, denoised in all steps and decoded, and bytes come out. Nothing
waits between, and a ControlNet's steps run beside the UNet's encoder (``beside``). Such a frame
cannot be given up on the way, so it is for frames that take next to no time.

What it gives is what the same functions give step by step: it is made of them. Adapters are laid
into the weights in place, and need no new recording. Written without a card at hand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from nijimi_protocol.geometry import Extent

from ..models.bundle import ModelBundle
from ..models.placement import Measure
from .asks import finish
from .autoencoders import Autoencoders
from .beside import Beside
from .cache import StageCache
from .control.residuals import Steering
from .denoiser import Denoiser, Guidance, Start
from .frozen import as_it_is
from .joined import JoinedLayers
from .plan import Plan
from .prompt.encode import Conditioning
from .recorded import Recorder
from .request import FrameRequest, Pixels
from .samplers import LcmRun
from .stages import decode_pixels, encode_pixels

__all__ = ["LONGEST_MS", "TRIAL_FRAMES", "WORTH_FRAMES", "FrameKind", "WholeFrames"]

log = logging.getLogger(__name__)

WORTH_FRAMES = 16
"""So many that differ in nothing else show that more will come; and networks have begun to become
quicker by themselves, if they do."""

TRIAL_FRAMES = 6
"""Of it, until it has shown that it takes no longer than step by step."""

LONGEST_MS = 100.0
"""A frame that takes longer may be given up for a newer stroke, between its steps."""

_MOST_KINDS = 4
_MOST_SEEN = 32

Whole = Callable[[Pixels], Pixels]
"""RGB h x w x 3 in, opaque BGRA h x w x 4 out."""


@dataclass(frozen=True, kw_only=True)
class FrameKind:
    """What frames must share to be one piece of work. ``rest``: whatever else is fixed in it."""

    extent: Extent
    timesteps: tuple[float, ...]
    guidance: tuple[float, float]
    words: tuple[Hashable, ...]
    controls: tuple[Hashable, ...]
    rest: Hashable


class WholeFrames:
    """Those of one model that are recorded. For one thread only.

    ``version``: counts changes of the networks other than of weights in place.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        vaes: Autoencoders,
        recorder: Recorder,
        beside: Beside | None = None,
        version: Callable[[], Hashable] = lambda: 0,
        joined: JoinedLayers | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._bundle, self._vaes, self._recorder = bundle, vaes, recorder
        # Networks as they are: what is recorded within something recorded would not be.
        self._denoiser = Denoiser(bundle, None, as_it_is, beside)
        self._version, self._joined, self._clock = version, joined, clock
        self._frames: StageCache[_Frame] = StageCache(_MOST_KINDS)
        self._seen: StageCache[_Seen] = StageCache(_MOST_SEEN)

    def find(
        self, kind: FrameKind, request: FrameRequest, plan: Plan, steering: Steering,
        noise: torch.Tensor,
    ) -> Whole | None:  # fmt: skip
        """What makes this frame of its pixels; None where it is to be made step by step."""
        seen = self._seen.get(kind, _Seen)
        if not (seen.is_worth_it and self._recorder.is_settled()):
            return None
        frame = self._frames.get(kind, lambda: self._frame(request, plan, steering))
        words, hints = _words(plan.guidance), steering.hints

        def make(rgb: Pixels) -> Pixels:
            began = self._clock()
            made = frame(rgb, (noise, *words, *hints))
            seen.note_whole(1000.0 * (self._clock() - began))
            return made

        return make

    def note(self, kind: FrameKind, spent_ms: float) -> None:
        """Such a frame was made step by step in that time."""
        self._seen.get(kind, _Seen).note(spent_ms)

    def clear(self) -> None:
        """Let all go: memory is short, or the weights lie elsewhere now."""
        self._frames.clear()
        self._seen.clear()

    def kind(
        self, request: FrameRequest, extent: Extent, plan: Plan, steering: Steering
    ) -> FrameKind | None:
        """None for frames that are more than that: shown while they are made, refined, with
        references or regions, or of samplers that keep numbers in main memory."""
        bundle = self._bundle
        is_live = not (request.full_quality or request.exact) and request.on_look is None
        if not (is_live and isinstance(plan.run, LcmRun)) or bundle.is_flow or bundle.takes_masks:
            return None
        if not steering.is_plain or bundle.placement.measure > Measure.NONE:
            return None
        guidance = plan.guidance
        order = {id(each): n for n, each in enumerate(_conditionings(guidance))}
        return FrameKind(
            extent=extent,
            timesteps=plan.run.timesteps,
            guidance=(guidance.scale, guidance.rescale),
            words=(
                *(order[id(each)] for each in guidance.by_step),
                *(each.shape for each in _words(guidance)),
            ),
            controls=(*steering.forms, *(each.shape for each in steering.hints)),
            rest=(self._vaes.key(request), self._version()),
        )

    def _frame(self, request: FrameRequest, plan: Plan, steering: Steering) -> _Frame:
        live = self._vaes.live_for(request)
        bundle = self._vaes.bundle_for(request)
        run, guidance, words = plan.run, plan.guidance, len(_words(plan.guidance))

        def work(pixels: torch.Tensor, noise: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            if self._joined is not None:
                # What a prompt's words are for the UNet is computed once, for all steps.
                self._joined.forget()
            told = _retold(guidance, rest[:words])
            seen = steering.with_hints(rest[words:])
            latents = encode_pixels(bundle, pixels, live).float()
            start = Start(latents=run.begin(latents, noise[0]), noise=noise, run=run)
            made = finish(self._denoiser.steps(start, told, seen, lambda: False, lambda *_: None))
            return _opaque(decode_pixels(bundle, made, live))

        log.info("frames of %d steps are recorded whole", len(run.timesteps))
        return _Frame(work, self._recorder, bundle.device.torch_device)


class _Seen:
    """How often a kind of frame came, and the least time that one took."""

    def __init__(self) -> None:
        self._count, self._best_ms = 0, float("inf")
        self._tries, self._whole_ms = 0, float("inf")

    def note(self, spent_ms: float) -> None:
        self._count += 1
        self._best_ms = min(self._best_ms, spent_ms)

    def note_whole(self, spent_ms: float) -> None:
        if self._tries < TRIAL_FRAMES:
            self._tries += 1
            # The first one records.
            self._whole_ms = min(self._whole_ms, spent_ms)

    @property
    def is_worth_it(self) -> bool:
        loses = self._tries == TRIAL_FRAMES and self._whole_ms > self._best_ms
        return self._count >= WORTH_FRAMES and self._best_ms <= LONGEST_MS and not loses


class _Frame:
    """Bytes in and bytes out, by buffers that the device reads and writes by itself."""

    def __init__(
        self, work: Callable[..., torch.Tensor], recorder: Recorder, device: torch.device
    ) -> None:
        self._work, self._device = recorder.pack_at_once(work), device
        self._given: torch.Tensor | None = None
        self._made: torch.Tensor | None = None

    def __call__(self, rgb: Pixels, tensors: tuple[torch.Tensor, ...]) -> Pixels:
        if self._given is None:
            self._given = self._pinned(rgb.shape)
        np.copyto(self._given.numpy(), rgb)
        pixels = self._work(self._given.to(self._device, non_blocking=True), *tensors)
        if self._made is None:
            self._made = self._pinned(pixels.shape)
        self._made.copy_(pixels, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return self._made.numpy().copy()

    def _pinned(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=self._device.type == "cuda")


def _conditionings(guidance: Guidance) -> list[Conditioning]:
    """Each once, in the order in which steps read them."""
    found = {id(each): each for each in guidance.by_step}
    return list(found.values())


def _words(guidance: Guidance) -> tuple[torch.Tensor, ...]:
    made: list[torch.Tensor] = []
    for each in _conditionings(guidance):
        made += [each.embeds] if each.pooled is None else [each.embeds, each.pooled]
    return tuple(made)


def _retold(guidance: Guidance, words: Sequence[torch.Tensor]) -> Guidance:
    """The same guidance by other words, of the same shapes and order."""
    rest = list(words)
    new: dict[int, Conditioning] = {}
    for each in _conditionings(guidance):
        embeds = rest.pop(0)
        pooled = None if each.pooled is None else rest.pop(0)
        new[id(each)] = replace(each, embeds=embeds, pooled=pooled)
    return replace(guidance, by_step=[new[id(each)] for each in guidance.by_step])


def _opaque(rgb: torch.Tensor) -> torch.Tensor:
    """RGB h x w x 3 becomes BGRA h x w x 4 that nothing shows through."""
    return torch.cat([rgb.flip(-1), torch.full_like(rgb[..., :1], 255)], dim=-1)
