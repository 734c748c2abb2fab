"""A selection and its canvas enter; one layer leaves, each island of it repainted by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.inpaint import InitialFill, InpaintMode

from ..errors import BadInput, NijimiError
from ..models.bundle import ModelBundle
from .asks import Making
from .autoencoders import Autoencoders
from .cache import StageCache
from .clock import StageClock
from .control.residuals import ControlRoom, Steering
from .denoiser import Denoiser, Start
from .inpaint.compose import compose, join_layers
from .inpaint.fill import fill_selection
from .inpaint.plan import InpaintPlan, make_plan
from .inpaint.regions import Region, make_regions
from .plan import Plan, Planner
from .request import FrameRequest, Pixels
from .resolution import render_extent
from .sampling import Repaint
from .stages import resize_canvas, resize_mask

__all__ = ["Inpainter", "Repainted"]


@dataclass(frozen=True, kw_only=True)
class Repainted:
    """``pixels``: BGRA of ``area``, nothing where nothing was selected; the rest as ``Picture``."""

    pixels: Pixels
    area: Bounds
    steps: int
    sampler: str
    failures: tuple[NijimiError, ...]


class Denoise(Protocol):
    """Noisy latents become opaque BGRA pixels, in steps."""

    def __call__(
        self, request: FrameRequest, start: Start, plan: Plan, steering: Steering,
        clock: StageClock, should_stop: Callable[[], bool], on_step: Callable[[int, int], None],
    ) -> Making[Pixels]: ...  # fmt: skip


class Inpainter:
    """Repaints selections by one model. Use it from one thread only."""

    def __init__(
        self,
        bundle: ModelBundle,
        planner: Planner,
        denoiser: Denoiser,
        controls: ControlRoom,
        vaes: Autoencoders,
        encodings: StageCache[torch.Tensor],
        denoise: Denoise,
    ) -> None:
        """``encodings``: the engine's, of what was encoded."""
        self._bundle, self._planner, self._denoiser = bundle, planner, denoiser
        self._controls, self._vaes, self._encodings = controls, vaes, encodings
        self._denoise = denoise
        self.regions: StageCache[tuple[Region, ...]] = StageCache(2)

    def layer(
        self,
        request: FrameRequest,
        clock: StageClock,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> Making[Repainted]:
        """Each island of the selection by a picture of its own; one layer for all of them."""
        canvas, selection, params = request.canvas, request.mask, request.params
        if canvas is None or selection is None:
            raise BadInput("Nothing is selected.", "Select what is to be repainted.")
        if selection.shape != canvas.shape[:2]:
            raise BadInput(
                f"The mask is {selection.shape[1]} x {selection.shape[0]} px, the picture "
                f"{canvas.shape[1]} x {canvas.shape[0]} px.",
                "Give a mask of the picture's size.",
            )
        with clock.stage("select"):
            inpaint = make_plan(canvas, selection, params)
            wish = params.inpaint
            # What is selected rarely changes, and costs more than all the rest.
            version = request.canvas_version if inpaint.mode is InpaintMode.EXPAND else 0
            regions = self.regions.get(
                (request.mask_version, inpaint.mode, version, canvas.shape, wish),
                lambda: make_regions(inpaint.selection, self._bundle.info.native_px, wish),
            )
        failures: dict[str, NijimiError] = {}
        done = itertools.count(1)
        steps, sampler = 0, ""
        parts: list[Pixels] = []
        for region in regions:
            plan = self._planner.plan(request, inpaint.strength, clock)
            if plan is not None:
                steps, sampler = plan.steps, plan.sampler
            total = len(regions) * steps

            def note(_step: int, _of: int, total: int = total) -> None:
                on_step(next(done), total)

            part = yield from self._repaint(
                request, inpaint, plan, region, clock, should_stop, note, failures
            )
            parts.append(part)
        area, layer = join_layers([region.crop for region in regions], parts)
        return Repainted(
            pixels=layer, area=area, steps=steps, sampler=sampler,
            failures=tuple(failures.values()),
        )  # fmt: skip

    def _repaint(
        self,
        request: FrameRequest,
        inpaint: InpaintPlan,
        plan: Plan | None,
        region: Region,
        clock: StageClock,
        should_stop: Callable[[], bool],
        on_step: Callable[[int, int], None],
        failures: dict[str, NijimiError],
    ) -> Making[Pixels]:
        """One region's part of the layer, BGRA with straight alpha, at the canvas's resolution.

        Why a control cannot be goes into ``failures``, by its sentence.
        """
        bundle, crop = self._vaes.bundle_for(request), region.crop
        extent = render_extent(crop.extent, bundle.info.native_px, bundle.size_multiple_px)
        assert request.canvas is not None
        with clock.stage("resize"):
            part = request.canvas[crop.y : crop.bottom, crop.x : crop.right]
            before = resize_canvas(part, extent)
            repaint_mask = resize_mask(region.repaint, extent)
            rgb = fill_selection(before, repaint_mask, inpaint.initial_fill)
        if plan is None:
            return compose(region, before, rgb, request.params.inpaint)
        failures.update((each.sentence, each) for each in plan.failures)
        with clock.stage("encode"):
            key = (request.canvas_version, request.mask_version, crop, extent,
                   inpaint.initial_fill, self._vaes.key(request))  # fmt: skip
            original = self._encodings.get(key, lambda: self._vaes.encode(request, rgb))
            cells = Extent(*(side // bundle.latent_scale for side in extent))
            strength_map = torch.from_numpy(resize_mask(region.repaint, cells).astype(np.float32))
            strength_map = (strength_map / 255.0)[None, None].to(original.device)
            condition = None
            if bundle.takes_masks:
                grey = fill_selection(before, repaint_mask, InitialFill.NEUTRAL)
                known = self._encodings.get(
                    (*key, "grey"), lambda: self._vaes.encode(request, grey)
                )
                condition = torch.cat([(strength_map > 0.5).float(), known], dim=1)
        with clock.stage("control"):
            steering, failed = self._controls.prepare(
                request.controls, request.extent, crop, extent
            )
            failures.update((each.sentence, each) for each in failed)
            if condition is None:
                steering = self._controls.add_inpaint(steering, key, rgb, repaint_mask)
        noise = self._denoiser.noise(request.params.seed, extent, plan.steps)
        repaint = Repaint(original=original, strength_map=strength_map, is_clean=bundle.knows_clean)
        start = Start(
            latents=plan.run.begin(original, noise[0]),
            noise=noise,
            run=plan.run,
            repaint=repaint,
            condition=condition,
        )
        made = yield from self._denoise(request, start, plan, steering, clock, should_stop, on_step)
        with clock.stage("compose"):
            opaque = np.ascontiguousarray(made[..., 2::-1])
            return compose(region, before, opaque, request.params.inpaint)
