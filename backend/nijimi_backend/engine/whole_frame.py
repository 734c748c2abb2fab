"""A live frame's pixels, noises, words and hints enter; its pixels leave, by one piece of work.

On a graphics card each network is recorded by itself (``recorded``), which serves any frame. Where
frames follow each other that differ only in what is painted, said and hinted, all of a frame is one
CUDA graph: bytes go in, are encoded, denoised in all steps and decoded, and bytes come out. Nothing
waits between, and a ControlNet's steps run beside the UNet's encoder (``beside``). Such a frame
cannot be given up on the way, so it is for frames that take next to no time.

What it gives is what the same functions give step by step: it is made of them. Where torch has
compiled networks (``compiled``) a frame is made of those, and of networks as they come, too: the
first have fewer kernels, only the others have the ControlNet beside the encoder, as nothing can be
waited for within what is compiled. Both are timed, and the quickest way stays. Adapters are laid
into the weights in place, and need no new recording. Written without a card at hand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from .whole_ways import SeenFrames, WholeFrame, WholeWays

__all__ = ["FrameKind", "WholeFrames"]

log = logging.getLogger(__name__)

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
        by_steps: Callable[[], Denoiser],
        beside: Beside | None = None,
        version: Callable[[], Hashable] = lambda: 0,
        joined: JoinedLayers | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``by_steps``: what makes frames step by step, whose compiled networks serve here, too."""
        self._bundle, self._vaes, self._recorder = bundle, vaes, recorder
        # Networks as they are: what is recorded within something recorded would not be.
        self._plain = Denoiser(bundle, None, as_it_is, beside)
        self._quicker = Denoiser(bundle, None, quicker=lambda key: by_steps().quicker(key))
        self._version, self._joined, self._by_steps = version, joined, by_steps
        self._clock = clock
        self._frames: StageCache[WholeWays] = StageCache(_MOST_KINDS)
        self._seen: StageCache[SeenFrames] = StageCache(_MOST_SEEN)

    def find(
        self, kind: FrameKind, request: FrameRequest, plan: Plan, steering: Steering,
        noise: torch.Tensor,
    ) -> Whole | None:  # fmt: skip
        """What makes this frame of its pixels; None where it is to be made step by step."""
        seen = self._seen.get(kind, SeenFrames)
        if not (seen.is_worth_it and self._recorder.is_settled()):
            return None
        ways = self._frames.get(kind, lambda: self._ways(seen, request, plan, steering))
        if ways.has_lost:
            return None
        tensors = (noise, *_words(plan.guidance), *steering.hints)
        return lambda rgb: ways(rgb, tensors)

    def note(self, kind: FrameKind, spent_ms: float) -> None:
        """Such a frame was made step by step in that time."""
        self._seen.get(kind, SeenFrames).note(spent_ms)

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

    def _ways(
        self, seen: SeenFrames, request: FrameRequest, plan: Plan, steering: Steering
    ) -> WholeWays:  # fmt: skip
        """All in which such a frame can be made as one."""
        device = self._bundle.device.torch_device
        plain = self._work(request, plan, steering, quicker=False)
        makers = [partial(WholeFrame, plain, self._recorder, device)]
        if any(each.is_quicker for each in (self._by_steps(), self._vaes, steering)):
            quicker = self._work(request, plan, steering, quicker=True)
            makers.insert(0, partial(WholeFrame, quicker, self._recorder, device, instead_of=plain))
        log.info("frames of %d steps are recorded whole", len(plan.run.timesteps))
        return WholeWays(makers, seen.best_ms, self._clock)

    def _work(
        self, request: FrameRequest, plan: Plan, steering: Steering, *, quicker: bool
    ) -> Callable[..., torch.Tensor]:
        """Pixels, noise, words and hints of such a frame in; its pixels out."""
        live = self._vaes.live_for(request)
        bundle = self._vaes.bundle_for(request)
        encode, decode = self._vaes.coders(quicker=quicker)
        denoiser = self._quicker if quicker else self._plain
        run, guidance, words = plan.run, plan.guidance, len(_words(plan.guidance))

        def work(pixels: torch.Tensor, noise: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            if self._joined is not None:
                # What a prompt's words are for the UNet is computed once, for all steps.
                self._joined.forget()
            told = _retold(guidance, rest[:words])
            seen = steering.with_hints(rest[words:], quicker=quicker)
            latents = encode_pixels(bundle, pixels, live, encode).float()
            start = Start(latents=run.begin(latents, noise[0]), noise=noise, run=run)
            made = finish(denoiser.steps(start, told, seen, lambda: False, lambda *_: None))
            return _opaque(decode_pixels(bundle, made, live, decode))

        return work


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
