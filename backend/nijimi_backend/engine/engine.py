"""A FrameRequest enters, a Picture leaves; each stage runs only when its inputs changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from ..errors import BadInput, NijimiError, OutOfMemory
from ..models.bundle import ModelBundle
from ..models.catalog import ModelInfo
from ..models.device import choose_device, expect_out_of_memory
from ..models.headers import first_line
from ..models.library import Library, open_library
from ..models.loader import LoadProgress, load_model
from ..models.upscalers import UpscalerRoom
from .asks import Making, finish
from .autoencoders import Autoencoders
from .beside import Streams
from .cache import StageCache
from .card import Card
from .card_eight_bit import ByteKind, byte_kind
from .clock import StageClock
from .company import Company, may_join
from .control.residuals import ControlRoom, Steering
from .denoiser import Denoiser, Start
from .flow.family import flow_family
from .frozen import Pack, frozen, warm_up_steps
from .inpaint.regions import MAX_REGIONS
from .inpainting import Inpainter
from .looks import Looks
from .plan import Plan, Planner
from .recorded import Recorder
from .request import FrameRequest, Picture, Pixels
from .resolution import render_extent
from .samplers import Run
from .small_canvas import SmallCanvases
from .stages import opaque_bgra, resize_canvas
from .upscaling import upscale
from .whole_frame import FrameKind, WholeFrames

__all__ = ["Engine", "open_engine"]

log = logging.getLogger(__name__)

_NETWORK_STAGES = ("prompt", "adapters", "control", "encode", "denoise", "decode")


class Engine:
    """One model on one device. Use it from one thread only."""

    def __init__(
        self, bundle: ModelBundle, library: Library | None = None, pack: Pack = frozen, *,
        in_company: bool | None = None, recorder: Recorder | None = None,
        streams: Streams | None = None, joins: bool | None = None,
        at_work: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        """``in_company``: whether pictures of several clients are denoised together; None: where
        it pays, which is on a graphics card. ``at_work``: around each picture that is made alone.
        The others are as for ``Card``."""
        self._at_work = at_work
        self._bundle = bundle
        self._in_company = bundle.device.is_cuda if in_company is None else in_company
        family = flow_family(bundle)
        self._vaes = Autoencoders(bundle, library, pack)
        self._card = Card(
            bundle, self._vaes, recorder, lambda: self._planner.hypernets.version,
            lambda: self.denoiser, streams=streams, joins=joins,
        )  # fmt: skip
        self.denoiser = Denoiser(
            bundle, family, pack, joined=self._card.joined, on_weights=self._card.weights_changed
        )
        self._planner = Planner(bundle, library, self.denoiser, family)
        self.prompts, self.adapters = self._planner.prompts, self._planner.adapters
        self.controls = ControlRoom(bundle, library, pack, joins=joins)
        # Two for each region of a selection: what is there, and what an inpaint checkpoint is told.
        self.encodings: StageCache[torch.Tensor] = StageCache(2 * MAX_REGIONS)
        self._small = SmallCanvases()
        self._looks = Looks(bundle)
        self.upscalers = UpscalerRoom(library, bundle.device)
        self._inpainter = Inpainter(
            bundle, self._planner, self.denoiser, self.controls, self._vaes, self.encodings,
            self._denoise,
        )  # fmt: skip
        self.regions = self._inpainter.regions

    @property
    def device(self) -> str:
        return self._bundle.device.title

    @property
    def model(self) -> ModelInfo:
        return self._bundle.info

    def render(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Picture:
        """Render one frame.

        ``should_stop`` is asked between steps; then ``RenderCancelled`` comes. Strength 0 gives
        the canvas back, at the model's resolution, without running a network. Where memory runs
        out, more time is spent to need less of it, which the picture's failures tell once.
        """
        given_up: tuple[NijimiError, ...] = ()
        while (picture := self._try(request, should_stop, on_step)) is None:
            # Here the failed try holds nothing any more.
            told = self._bundle.placement.give_up_more()
            if told is None:
                raise OutOfMemory(
                    "The picture does not fit into the device's memory.",
                    "Close other programs, or choose a smaller model.",
                )
            given_up = (told,)
        return replace(picture, failures=(*picture.failures, *given_up))

    def _try(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Picture | None:
        """None where memory ran out."""
        try:
            with self._at_work(), torch.inference_mode():
                if request.upscale is not None:
                    return self._upscale(request, request.upscale, should_stop, on_step)
                return finish(self._making(request, should_stop, on_step))
        except (RuntimeError, MemoryError) as error:
            expect_out_of_memory(error)
            log.warning("memory ran out (%s)", first_line(error))
            self.encodings.clear()
            self._let_go()
            return None

    def joins(self, request: FrameRequest) -> Hashable | None:
        """What requests must share to be painted in one ``company``; None: alone.

        What lies on the weights and what the network listens to is there once for all rows.
        """
        may = self._in_company and may_join(request, self._bundle)
        return self._planner.adapters_of(request) if may else None

    def company(self) -> Company:
        """For pictures of several clients, whose requests ``joins`` gives one value."""
        return Company(self._making)

    def warm_up(self) -> None:
        """Render once unseen, where the first frame would cost more than the others do."""
        bundle = self._bundle
        if steps := warm_up_steps(bundle.unet, self.denoiser.pack, on_gpu=bundle.device.is_cuda):
            params = RenderParams(mode=RenderMode.TXT2IMG, num_inference_steps=steps)
            with self._card.choosing_attention():
                self.render(FrameRequest(params=params, extent=self.model.native_extent))

    def round_rows(self, kind: ByteKind | None) -> bool:
        """Multiply rows in eight bits, as ``Card.round_rows``; None: the card gains nothing."""
        if kind is None:
            return False
        params = RenderParams(mode=RenderMode.TXT2IMG, num_inference_steps=4)
        request = FrameRequest(params=params, extent=self.model.native_extent)

        def render() -> Pixels:
            self._network_changed()
            return self.render(request).pixels

        if self._card.round_rows(kind, render):
            return True
        self._let_go()
        return False

    def _let_go(self) -> None:
        if self._card.let_go():
            self._network_changed()

    def _network_changed(self) -> None:
        is_plain = self.adapters.is_empty and self._planner.hypernets.is_empty
        self.denoiser.weights_changed(is_plain=is_plain, in_place=False)

    def _making(
        self,
        request: FrameRequest,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
        is_alone: Callable[[], bool] = lambda: True,
    ) -> Making[Picture]:
        bundle, params = self._bundle, request.params
        clock = StageClock(is_cuda=bundle.device.is_cuda)
        if params.mode is RenderMode.INPAINT:
            return (yield from self._inpaint(request, clock, should_stop, on_step))
        extent = render_extent(request.extent, self.model.native_px, bundle.size_multiple_px)
        canvas = None if params.mode is RenderMode.TXT2IMG else request.canvas
        if canvas is None and params.mode is not RenderMode.TXT2IMG:
            raise BadInput("There is no picture to start from.", "Open a document.")
        strength = params.strength if canvas is not None else 1.0
        plan = self._planner.plan(request, strength, clock)
        if plan is None and canvas is not None:
            with clock.stage("resize"):
                pixels = opaque_bgra(resize_canvas(canvas, extent))
            return self._picture(request, pixels, 0, clock)
        assert plan is not None
        size = request.extent
        with clock.stage("control"):
            steering, failures = self.controls.prepare(request.controls, size, size.bounds, extent)
        whole, kind, pixels = self._card.whole, None, None
        if whole is not None and canvas is not None:
            kind = whole.kind(request, extent, plan, steering)
            if kind is not None and is_alone():
                pixels = self._made_whole(
                    whole, kind, request, canvas, extent, plan, steering, clock
                )
        is_whole = pixels is not None
        if pixels is None:
            start = self._start(request, canvas, extent, plan.run, clock)
            pixels = yield from self._denoise(
                request, start, plan, steering, clock, should_stop, on_step
            )
        told = (*plan.failures, *failures)
        picture = self._picture(request, pixels, plan.steps, clock, failures=told)
        if whole is not None and kind is not None and not is_whole:
            whole.note(kind, picture.model_ms)
        return replace(picture, sampler=plan.sampler)

    def _made_whole(
        self,
        whole: WholeFrames,
        kind: FrameKind,
        request: FrameRequest,
        canvas: Pixels,
        extent: Extent,
        plan: Plan,
        steering: Steering,
        clock: StageClock,
    ) -> Pixels | None:
        """The picture by one piece of recorded work, where there is one for such frames."""
        noise = self.denoiser.noise(request.params.seed, extent, plan.steps)
        frame = whole.find(kind, request, plan, steering, noise)
        if frame is None:
            return None
        with clock.stage("resize"):
            rgb = self._small.get(request, canvas, extent)
        with clock.stage("denoise"):
            return frame(rgb)

    def _upscale(
        self,
        request: FrameRequest,
        wish: UpscaleParams,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Picture:
        """A larger picture of the canvas, without controls, whatever the mode."""
        if request.canvas is None:
            raise BadInput("There is no picture to enlarge.", "Open a document.")
        clock = StageClock(is_cuda=self._bundle.device.is_cuda)
        plan = self._planner.plan(request, wish.strength, clock)
        network = self.upscalers.get(wish.model)
        self.controls.clear_references()
        with clock.stage("denoise"):
            pixels = upscale(
                request, network, plan, self._vaes.bundle_for(request), self.denoiser, should_stop,
                on_step, self._on_guess(request),
            )  # fmt: skip
        if plan is None:
            return self._picture(request, pixels, 0, clock)
        picture = self._picture(request, pixels, plan.steps, clock, failures=plan.failures)
        return replace(picture, sampler=plan.sampler)

    def _denoise(
        self,
        request: FrameRequest,
        start: Start,
        plan: Plan,
        steering: Steering,
        clock: StageClock,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Making[Pixels]:
        """Noisy latents become opaque BGRA pixels."""
        with clock.stage("denoise"):
            latents = yield from self.denoiser.steps(
                start, plan.guidance, steering, should_stop, on_step, self._on_guess(request),
            )  # fmt: skip
        with clock.stage("decode"):
            return self._vaes.decode(request, latents)

    def _inpaint(
        self,
        request: FrameRequest,
        clock: StageClock,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Making[Picture]:
        made = yield from self._inpainter.layer(request, clock, should_stop, on_step)
        picture = self._picture(request, made.pixels, made.steps, clock, made.area, made.failures)
        return replace(picture, sampler=made.sampler)

    def _start(
        self,
        request: FrameRequest,
        canvas: Pixels | None,
        extent: Extent,
        run: Run,
        clock: StageClock,
    ) -> Start:
        """Noisy latents of the canvas, or noise alone."""
        noise = self.denoiser.noise(request.params.seed, extent, len(run.timesteps))
        if canvas is None:
            return Start(latents=run.begin(None, noise[0]), noise=noise, run=run)

        def encode() -> torch.Tensor:
            with clock.stage("resize"):
                rgb = self._small.get(request, canvas, extent)
            with clock.stage("encode"):
                return self._vaes.encode(request, rgb)

        # Not by the pixels themselves: the mirror counts its changes, a hash would cost more.
        key = (request.canvas_version, extent, self._vaes.key(request))
        latents = self.encodings.get(key, encode)
        return Start(latents=run.begin(latents, noise[0]), noise=noise, run=run)

    def _on_guess(self, request: FrameRequest) -> Callable[[torch.Tensor], None] | None:
        """What is to become of guesses at the latents, if anybody wants to look."""
        show = request.on_look
        return None if show is None else lambda latents: show(self._looks.look(latents))

    def _picture(
        self,
        request: FrameRequest,
        pixels: Pixels,
        steps: int,
        clock: StageClock,
        area: Bounds | None = None,
        failures: tuple[NijimiError, ...] = (),
    ) -> Picture:
        timings = clock.timings_ms
        if (failure := self._vaes.failure(request)) is not None:
            failures = (*failures, failure)
        return Picture(
            pixels=pixels,
            area=area if area is not None else request.extent.bounds,
            seed=request.params.seed,
            num_inference_steps=steps,
            model_ms=sum(timings.get(name, 0.0) for name in _NETWORK_STAGES),
            timings_ms=timings,
            failures=failures,
        )


def open_engine(
    model_name: str = "",
    models_dir: Path | None = None,
    device: str = "auto",
    progress: LoadProgress = lambda *_: None,
    library: Library | None = None,
    budget_bytes: int | None = None,
    pack: Pack = frozen,
    recorder: Recorder | None = None,
    eight_bit: bool = False,
    at_work: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Engine:
    """Find, load and warm up a model. Raises a ``NijimiError`` that says what is wrong.

    ``budget_bytes``: what networks may take of the device's memory; None for all there is.
    ``pack``: how small networks become functions of one size. ``recorder``: records whole frames
    on a graphics card. ``eight_bit``: there, rows are multiplied in eight bits; on a CPU ``pack``
    does so. ``at_work``: as for ``Engine``.
    """
    library = library or open_library(models_dir)
    info = library.find_model(model_name)
    bundle = load_model(info, choose_device(device, budget_bytes), progress)
    records = recorder if bundle.device.is_cuda else None
    engine = Engine(bundle, library, pack, recorder=records, at_work=at_work)
    engine.warm_up()
    if eight_bit:
        engine.round_rows(byte_kind(bundle.device.torch_device))
    return engine
