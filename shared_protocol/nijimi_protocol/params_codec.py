"""RenderParams enter and their JSON leaves, or the other way round."""

from __future__ import annotations

from typing import Any

from .errors import RejectedChange
from .fields import Fields
from .inpaint import InitialFill, InpaintMode, InpaintParams
from .limits import Limits
from .params import RenderMode, RenderParams
from .upscale import UpscaleParams

__all__ = ["params_from_json", "params_to_json", "upscale_from_json", "upscale_to_json"]


def params_to_json(params: RenderParams) -> dict[str, Any]:
    inpaint = dict(
        vars(params.inpaint),
        mode=params.inpaint.mode.value,
        initial_fill=params.inpaint.initial_fill.value,
    )
    return dict(vars(params), mode=params.mode.value, inpaint=inpaint)


def params_from_json(p: Fields, limits: Limits, revision: int = 0) -> RenderParams:
    """Checked settings. ``MalformedMessage`` for fields of a wrong type, ``RejectedChange`` for
    values that are refused."""
    i = p.part("inpaint")
    try:
        mode = RenderMode(p.text("mode", 32))
        inpaint = InpaintParams(
            mode=InpaintMode(i.text("mode", 32)),
            initial_fill=InitialFill(i.text("initial_fill", 32)),
            grow_px=i.integer("grow_px"),
            feather_px=i.integer("feather_px"),
            blend_px=i.integer("blend_px"),
            context_px=i.integer("context_px"),
            context=i.optional_bounds("context"),
            match_colours=i.flag("match_colours"),
            poisson=i.flag("poisson"),
        )
    except ValueError:
        raise RejectedChange(
            "params", "This backend does not know that mode.", "Update the backend.", revision
        ) from None
    params = RenderParams(
        prompt=p.text("prompt", limits.max_meta_bytes),
        negative_prompt=p.text("negative_prompt", limits.max_meta_bytes),
        strength=p.number("strength"),
        num_inference_steps=p.integer("num_inference_steps"),
        guidance_scale=p.number("guidance_scale"),
        seed=p.integer("seed"),
        mode=mode,
        model=p.text("model", 1024),
        vae=p.text("vae", 1024, missing=""),
        live=p.flag("live"),
        refine=p.flag("refine"),
        sampler=p.text("sampler", 64),
        schedule=p.text("schedule", 64),
        eta=p.number("eta"),
        guidance_rescale=p.number("guidance_rescale"),
        clip_skip=p.integer("clip_skip"),
        second_prompt=p.text("second_prompt", limits.max_meta_bytes),
        prompt_blend=p.number("prompt_blend"),
        inpaint=inpaint,
    )
    return params.checked(limits, revision)


def upscale_to_json(wish: UpscaleParams | None) -> dict[str, Any] | None:
    return dict(vars(wish)) if wish is not None else None


def upscale_from_json(u: Fields | None) -> UpscaleParams | None:
    """Errors as of ``params_from_json``."""
    if u is None:
        return None
    return UpscaleParams(
        factor=u.number("factor"), model=u.text("model", 1024), strength=u.number("strength")
    ).checked()
