"""A request enters; what its picture takes besides pixels leaves: prompts, adapters and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import NijimiError
from ..models.bundle import ModelBundle
from ..models.library import Library
from .adapters import AdapterRack
from .cache import StageCache
from .clock import StageClock
from .control.regional import region_params, regions_of
from .denoiser import Denoiser, Guidance
from .flow.family import FlowFamily
from .flow.run import make_flow_run
from .hypernets import HypernetRack
from .prompt.encode import Conditioning
from .prompt.room import PromptRoom
from .prompt.syntax import AdapterUse
from .recipe import Recipe, choose_recipe
from .request import FrameRequest
from .samplers import Run, Way, make_way
from .sampling import Schedule

__all__ = ["REFINE_STEPS", "Plan", "Planner"]

REFINE_STEPS = 8
"""Steps of the refining pass; more than this changes a consistency model's picture little."""

_KEPT_WAYS = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one picture takes besides its pixels. ``steps`` counts calls of the UNet."""

    run: Run
    guidance: Guidance
    steps: int
    sampler: str
    failures: tuple[NijimiError, ...]


class Planner:
    """Reads prompts and lays adapters on one model's networks."""

    def __init__(
        self,
        bundle: ModelBundle,
        library: Library | None,
        denoiser: Denoiser,
        family: FlowFamily | None = None,
    ) -> None:
        self._bundle = bundle
        self._library = library
        self._denoiser = denoiser
        self._family = family
        self._schedule = Schedule.from_config(bundle.scheduler_config) if family is None else None
        self._ways: StageCache[Way | None] = StageCache(_KEPT_WAYS)
        self.prompts = PromptRoom(bundle, library, family)
        self.adapters = AdapterRack(bundle, library)
        self.hypernets = HypernetRack(bundle, library)

    def plan(self, request: FrameRequest, strength: float, clock: StageClock) -> Plan | None:
        """Prompts read, adapters laid on, steps counted; None where strength 0 asks for nothing.

        A run holds its sampler's state: one picture each.
        """
        bundle, params = self._bundle, request.params
        if strength <= 0.0:
            return None
        with clock.stage("prompt"):
            regions = () if bundle.is_flow else regions_of(request.controls)
            wishes = [params, *(region_params(params, each) for each in regions)]
            read = [self.prompts.read(wish) for wish in wishes]
            named = {use.name: use for each in reversed(read) for use in each.adapters}
            recipe = choose_recipe(params, tuple(named.values()), bundle, self._library)
        with clock.stage("adapters"):
            failures = self._lay_on(recipe.adapters)
        run = self._run(request, recipe, strength)
        if run is None:
            return None
        calls = len(run.timesteps)
        steps = [int(run.part(n) * calls + 1e-6) for n in range(calls)]
        guides = params.guidance_scale > 1.0 and not bundle.guidance_width
        missing: list[NijimiError] = []
        spoken: list[tuple[Conditioning, ...]] = []
        with clock.stage("prompt"):
            for prompts in read:
                by_step, lacking = self.prompts.conditioning(
                    prompts, params, steps, calls, self.adapters.text_version, guides=guides
                )
                spoken.append(by_step)
                missing += [*prompts.failures, *lacking]
        guidance = Guidance(
            by_step=spoken[0],
            scale=params.guidance_scale,
            rescale=params.guidance_rescale,
            regions=spoken[1:],
        )
        # The whole picture's words are in every region's, too.
        told = {each.sentence: each for each in (*missing, *failures)}
        return Plan(
            run=run, guidance=guidance, steps=calls, sampler=recipe.sampler,
            failures=tuple(told.values()),
        )  # fmt: skip

    def adapters_of(self, request: FrameRequest) -> tuple[AdapterUse, ...]:
        """What lies on the weights for this picture, regions' words apart."""
        used = self.prompts.read(request.params).adapters
        return choose_recipe(request.params, used, self._bundle, self._library).adapters

    def _run(self, request: FrameRequest, recipe: Recipe, strength: float) -> Run | None:
        config, steps = self._bundle.scheduler_config, _steps_of(request)
        if self._family is not None:
            return make_flow_run(
                self._family, recipe.sampler, recipe.schedule, strength, steps, config,
                self._bundle.device.torch_device,
            )  # fmt: skip
        schedule = self._schedule
        assert schedule is not None, "it is missing for flow-matching families only"
        chosen = recipe.sampler, recipe.schedule, strength, steps
        way = self._ways.get(chosen, lambda: make_way(*chosen, schedule, config))
        return None if way is None else way(request.params)

    def _lay_on(self, wanted: Sequence[AdapterUse]) -> tuple[NijimiError, ...]:
        """LoRAs on the weights and hypernetworks before attention: exactly these."""
        before = self._unet_version
        failures = (
            *self.adapters.use([use for use in wanted if not use.is_hypernet]),
            *self.hypernets.use([use for use in wanted if use.is_hypernet]),
        )
        if self._unet_version != before:
            is_plain = self.adapters.is_empty and self.hypernets.is_empty
            self._denoiser.weights_changed(
                is_plain=is_plain, in_place=self._unet_version[1] == before[1]
            )
        return failures

    @property
    def _unet_version(self) -> tuple[int, int]:
        return self.adapters.versions.get("unet", 0), self.hypernets.version


def _steps_of(request: FrameRequest) -> int:
    steps = request.params.num_inference_steps
    return max(steps, REFINE_STEPS) if request.full_quality else steps
