"""Noisy latents, conditioning and controls enter; denoised latents leave, some steps later."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from nijimi_protocol.geometry import Bounds, Extent

from ..errors import RenderCancelled
from ..models.bundle import ModelBundle
from .asks import Ask, Making
from .beside import Beside
from .cache import StageCache
from .control.reference import References
from .control.residuals import Extras, Steering
from .flow.family import FlowFamily
from .frozen import Pack, frozen, is_large
from .joined import JoinedLayers
from .prompt.encode import Conditioning
from .recorded import any_quicker, quicker_work
from .samplers import Run
from .sampling import Repaint, guidance_embedding, guided
from .stages import seeded_noise
from .unet import UNetWithExtras
from .windows import FusedWindows

__all__ = ["Denoiser", "Guidance", "Quicker", "Start"]

Quicker = Callable[[Hashable], Callable[..., Any] | None]
"""A function's key in; what may be recorded in its place as a part of more, out."""


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What the picture is guided by, by step: the prompt may change on the way.

    ``by_step``: one conditioning a call of the network; N is 1, or 2 with the negative prompt
    first. ``regions``: the same for each region's words.
    """

    by_step: Sequence[Conditioning]
    scale: float
    rescale: float = 0.0
    regions: Sequence[Sequence[Conditioning]] = ()


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where denoising begins: noisy ``latents`` (1 x C x h x w) at the run's first step, and the
    ``noise`` of each step, count x 1 x C x h x w.

    ``repaint`` holds what is to stay; ``condition`` is what an inpaint checkpoint is told.
    ``windows``, in cells of the latents, are what the network sees of them at a time; () is all.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    run: Run
    repaint: Repaint | None = None
    condition: torch.Tensor | None = None
    windows: tuple[Bounds, ...] = ()


class Denoiser:
    """Noises and the network of one model, each kept for as long as it may be needed."""

    def __init__(
        self, bundle: ModelBundle, family: FlowFamily | None = None, pack: Pack = frozen,
        beside: Beside | None = None, joined: JoinedLayers | None = None,
        on_weights: Callable[[], None] = lambda: None, quicker: Quicker | None = None,
    ) -> None:  # fmt: skip
        """``beside``: ControlNets work there, beside the UNet's encoder. ``joined``: what layers of
        the UNet share, forgotten before each call. ``on_weights`` is called when the UNet's weights
        have changed. ``quicker``: nothing is packed here; what it finds serves, and else the
        network as it is."""
        self._quicker = quicker
        self._joined = joined
        self._on_weights = on_weights
        self._bundle = bundle
        self._beside = beside
        self.pack = pack
        self._family = family
        is_cuda = bundle.device.is_cuda
        self.noises: StageCache[torch.Tensor] = StageCache(16)
        # What is sent to a card waits for it, and cannot be recorded.
        self._constants: StageCache[torch.Tensor] = StageCache(64)
        # On a card one for each number of rows that come together; they share their memory there.
        self._unets: StageCache[Callable[..., Any]] = StageCache(16 if is_cuda else 4)
        self._packs = True
        self._given_up = bundle.placement.measure

    def noise(self, seed: int, extent: Extent, count: int) -> torch.Tensor:
        """``count`` noises for pictures of ``extent``: count x 1 x C x h x w."""
        scale = self._bundle.latent_scale
        shape = (
            1, self._bundle.latent_channels, extent.height // scale, extent.width // scale
        )  # fmt: skip
        device = self._bundle.device.torch_device
        # The generator gives the same first noises for any count: the seed keeps its meaning.
        return self.noises.get(
            (seed, shape, count), lambda: seeded_noise(seed, shape, count).to(device)
        )

    def quicker(self, key: Hashable) -> Callable[..., Any] | None:
        """What was made in the network's place for a function's key (``quicker_work``)."""
        return quicker_work(self._unets.peek(key))

    @property
    def is_quicker(self) -> bool:
        """Whether anything was made in the network's place."""
        return any_quicker(self._unets)

    def weights_changed(self, *, is_plain: bool, in_place: bool) -> None:
        """The UNet's weights are others now; not ``is_plain``: adapters lie on them. ``in_place``:
        and nothing of its modules is.

        Packed copies hold the old ones. While adapters are on none are made, but of large networks
        on a CPU: packing small ones takes longer than many frames, and a slider moves on every one.
        On a graphics card there are no copies.
        """
        self._on_weights()
        if in_place and self._bundle.device.is_cuda:
            return
        self._unets.clear()
        is_cuda = self._bundle.device.is_cuda
        self._packs = is_plain or (not is_cuda and is_large(self._bundle.unet))

    def steps(
        self,
        start: Start,
        guidance: Guidance,
        steering: Steering,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
        on_guess: Callable[[torch.Tensor], None] | None = None,
    ) -> Making[torch.Tensor]:
        """Clean latents 1 x C x h x w. Raises ``RenderCancelled`` between two steps.

        ``on_guess`` is given what each step but the last takes them to be.
        """
        latents, condition, run = start.latents, start.condition, start.run
        count = len(run.timesteps)
        if condition is None and self._bundle.takes_masks:
            # Such a network wants a mask always: repaint all, and nothing is known.
            condition = torch.zeros_like(latents)
            condition = torch.cat([torch.ones_like(latents[:, :1]), condition], dim=1)
        noise = start.noise
        for n in range(count):
            if should_stop():
                raise RenderCancelled
            if start.repaint is not None:
                kept = run.noised(start.repaint.original, noise[n], n)
                clean = start.repaint.original
                if start.repaint.is_clean:
                    # Samplers differ in how large they keep latents; networks see one size.
                    clean = clean / run.scaled(torch.ones_like(latents), n)
                latents = start.repaint.held(latents, kept, clean, n, count)
            if start.windows:
                output = yield from self._fused(
                    start, guidance, latents, n, condition, should_stop, on_step
                )
            else:
                output = yield from self.predict(start, guidance, latents, n, condition, steering)
            latents = run.step(output, n, latents, noise[min(n + 1, count - 1)])
            if on_guess is not None and n + 1 < count:
                on_guess(run.guess())
            if not start.windows:
                on_step(n + 1, count)
        if start.repaint is not None:
            latents = start.repaint.finished(latents)
        if should_stop():
            raise RenderCancelled
        return latents

    def _fused(
        self,
        start: Start,
        guidance: Guidance,
        latents: torch.Tensor,
        n: int,
        condition: torch.Tensor | None,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Making[torch.Tensor]:
        """What ``predict`` gives, from windows: without controls, which are of the whole."""
        fused = FusedWindows(latents)
        count = len(start.windows)
        for k, window in enumerate(start.windows):
            if should_stop():
                raise RenderCancelled
            y, x = slice(window.y, window.bottom), slice(window.x, window.right)
            told = condition[..., y, x] if condition is not None else None
            part = latents[..., y, x]
            seen = yield from self.predict(start, guidance, part, n, told, Steering(()))
            fused.add(window, seen)
            on_step(n * count + k + 1, len(start.run.timesteps) * count)
        return fused.mean()

    def predict(
        self,
        start: Start,
        guidance: Guidance,
        latents: torch.Tensor,
        n: int,
        condition: torch.Tensor | None,
        steering: Steering,
    ) -> Making[torch.Tensor]:
        """The network's output for ``latents`` at step ``n``, guided, 1 x C x h x w, float32."""
        run, dtype = start.run, self._bundle.device.dtype
        told = guidance.by_step[n]
        embeds, batch = told.embeds, told.embeds.shape[0]
        if self._family is not None:
            family, sigma = self._family, run.timesteps[n]

            def velocity(rows: torch.Tensor) -> torch.Tensor:
                with self._bundle.placement.at_work(self._bundle.unet):
                    return family.velocity(rows, sigma, told)

            rows = latents.to(dtype).expand(batch, -1, -1, -1).contiguous()
            output = yield Ask(work=velocity, inputs=(rows,))
            return _guided(output.float(), guidance)
        time = run.timesteps[n]
        # Whole timesteps stay whole: networks were traced with them.
        told_time = int(time) if time == int(time) else time
        when = self._constants.get(
            (type(told_time), told_time), lambda: torch.tensor(told_time, device=latents.device)
        )
        scaled = run.scaled(latents, n)
        plain = scaled.to(dtype).expand(batch, -1, -1, -1).contiguous()
        scale = self._bundle.latent_scale
        seen = Extent(latents.shape[-1] * scale, latents.shape[-2] * scale)
        added = self._added(told, seen)
        # A T2I-Adapter's features are read on the way down already.
        beside = self._beside if steering.joins_late else None
        with beside.apart() if beside is not None else nullcontext():
            extras = steering.extras(plain, when, embeds, run.part(n), added) or Extras()
        if condition is not None:
            both = torch.cat([scaled, condition], dim=1)
            plain = both.to(dtype).expand(batch, -1, -1, -1).contiguous()
        scales: tuple[torch.Tensor, ...] = ()
        if width := self._bundle.guidance_width:
            made = self._constants.get(
                ("guidance", guidance.scale),
                lambda: guidance_embedding(guidance.scale, width).to(latents.device, dtype),
            )
            scales = (made.expand(batch, -1),)
        shown = steering.references
        told_pictures = shown.inputs(batch, run.part(n))
        regional = steering.regional
        spoken = regional.inputs([each[n].embeds for each in guidance.regions], run.part(n))
        rest = (*spoken, *added, *scales, *extras.tensors)
        inputs = (plain, when, embeds, *told_pictures, *rest)
        down, within = len(extras.down), len(extras.within)
        network = UNetWithExtras(
            self._bundle.unet, down, within, references=shown, regional=regional,
            pooled=bool(added), scaled=bool(scales), joined=self._joined,
        )  # fmt: skip
        # What the network listens to beside its inputs is one frame's own.
        kind = (down, within, bool(added), bool(scales), *(each.shape[1:] for each in inputs))
        is_plain = not shown.tokens and not spoken
        output = yield Ask(
            work=lambda *given: self._work(network, shown, given, len(spoken), beside),
            inputs=inputs,
            kind=kind if is_plain else None,
        )
        return _guided(output.float(), guidance)

    def _work(
        self, network: UNetWithExtras, shown: References, inputs: tuple[torch.Tensor, ...],
        spoken: int, beside: Beside | None,
    ) -> torch.Tensor:  # fmt: skip
        """The network's output, by its packed form where it has one; ``spoken``: how many of the
        inputs are for regions."""
        unet: Any = self._bundle.unet
        joined = nullcontext() if beside is None else beside.joined_after(unet.down_blocks[-1])
        with self._bundle.placement.at_work(unet), joined:
            return self._function(network, shown, inputs, spoken)(*inputs)

    def _function(
        self, network: UNetWithExtras, shown: References, inputs: tuple[torch.Tensor, ...],
        spoken: int,
    ) -> Callable[..., Any]:  # fmt: skip
        if not self._may_pack():
            return network
        plain, when, embeds, *rest = inputs
        count = len(shown.tokens)
        lengths = tuple(each.shape for each in rest[2 * count : 2 * count + spoken])
        key = (plain.shape, when.shape, when.dtype, embeds.shape, *network.form, shown.key, lengths)
        if self._quicker is not None:
            return self._quicker(key) or network
        # A scale of 0 would be traced as no attention at all.
        ones = [torch.ones_like(each) for each in rest[count : 2 * count]]
        examples = (plain, when, embeds, *rest[:count], *ones, *rest[2 * count :])
        return self._unets.get(key, lambda: self.pack(network, examples))

    def _may_pack(self) -> bool:
        """Not while adapters lie on the weights, nor on a card whose memory is short: networks
        move there, and what is packed takes memory of its own."""
        given_up = self._bundle.placement.measure
        if given_up != self._given_up:
            self._given_up = given_up
            self._unets.clear()
        return self._packs and not (given_up and self._bundle.device.is_cuda)

    def _added(self, told: Conditioning, extent: Extent) -> tuple[torch.Tensor, ...]:
        """SDXL's pooled text, and sizes: of the original, of the crop's corner, of the picture."""
        if told.pooled is None or not self._bundle.takes_sizes:
            return ()
        size, rows = (extent.height, extent.width), told.embeds.shape[0]
        sizes = self._constants.get(
            ("sizes", size, rows),
            lambda: told.embeds.new_tensor([[*size, 0, 0, *size]]).expand(rows, -1).contiguous(),
        )
        return told.pooled.to(told.embeds.dtype), sizes


def _guided(output: torch.Tensor, guidance: Guidance) -> torch.Tensor:
    """One output 1 x C x h x w of one, or of two with the negative prompt's first."""
    if output.shape[0] == 1:
        return output
    negative, positive = output.chunk(2)
    return guided(negative, positive, guidance.scale, guidance.rescale)
