"""Parameters of a picture enter; the text that the web UIs write into a PNG leaves, and back.

A1111's form: the prompt; ``Negative prompt: …``; then one line ``Steps: 4, Sampler: LCM, …``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from .errors import RejectedChange
from .limits import Limits
from .params import RenderParams
from .version import VERSION

__all__ = ["info_text", "lora_names", "params_from_info"]

_TITLES = {
    "lcm": "LCM", "tcd": "TCD", "ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a",
    "heun": "Heun", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE", "unipc": "UniPC",
}  # fmt: skip
_NAMES = {title.lower(): name for name, title in _TITLES.items()}
_SCHEDULES = {"automatic": "auto", "uniform": "normal", "sgm uniform": "trailing"}
_LORA = re.compile(r"<(?:lora|lyco):([^:<>]+)[:>]")


def info_text(
    params: RenderParams,
    sampler: str,
    width: int,
    height: int,
    model: str,
    model_hash: str = "",
    lora_hashes: Mapping[str, str] | None = None,
) -> str:
    """``sampler`` is the one that ran; hashes are shortened as the web UIs do, the model's to 10
    digits, a LoRA's (by its name) to 12."""
    lines = [params.prompt]
    if params.negative_prompt:
        lines.append(f"Negative prompt: {params.negative_prompt}")
    facts: dict[str, object] = {
        "Steps": params.num_inference_steps,
        "Sampler": _TITLES.get(sampler, sampler),
        "Schedule type": "" if params.schedule == "auto" else params.schedule.capitalize(),
        "CFG scale": f"{params.guidance_scale:g}",
        "Seed": params.seed,
        "Size": f"{width}x{height}",
        "Model hash": model_hash[:10],
        "Model": _quoted(model),
        "VAE": _quoted(params.vae),
        "Denoising strength": "" if params.strength >= 1.0 else f"{params.strength:g}",
        "Clip skip": params.clip_skip or "",
        "Lora hashes": _quoted(
            ", ".join(f"{name}: {found[:12]}" for name, found in (lora_hashes or {}).items())
        ),
        "Version": f"nijimi {VERSION}",
    }
    lines.append(", ".join(f"{key}: {value}" for key, value in facts.items() if value != ""))
    return "\n".join(lines)


def lora_names(prompt: str) -> tuple[str, ...]:
    """Those that a prompt names as ``<lora:name:0.8>``, each once."""
    return tuple(dict.fromkeys(_LORA.findall(prompt)))


def _quoted(text: str) -> str:
    return f'"{text}"' if "," in text or ":" in text else text


def params_from_info(text: str, base: RenderParams) -> RenderParams:
    """``base`` with what the text says. What it does not say, or says badly, stays as it was.

    Raises ``ValueError`` where the text is no such text at all.
    """
    lines = text.strip().split("\n")
    facts = _facts(lines[-1])
    if "Steps" not in facts:
        raise ValueError("there are no parameters in it")
    body = "\n".join(lines[:-1])
    prompt, _, negative = body.partition("\nNegative prompt: ")
    if body.startswith("Negative prompt: "):
        prompt, negative = "", body.removeprefix("Negative prompt: ")
    words = facts.get("Sampler", "").lower()
    schedule = facts.get("Schedule type", "").lower()
    for ending in ("karras", "exponential"):
        if words.endswith(" " + ending):
            # The web UIs wrote both into one word before they told them apart.
            words, schedule = words.removesuffix(" " + ending), ending
    schedule = _SCHEDULES.get(schedule, schedule)
    changes = {
        "prompt": prompt,
        "negative_prompt": negative,
        "num_inference_steps": _number(facts.get("Steps"), int),
        "guidance_scale": _number(facts.get("CFG scale"), float),
        "seed": _number(facts.get("Seed"), int),
        "strength": _number(facts.get("Denoising strength"), float),
        "clip_skip": _number(facts.get("Clip skip"), int),
        "sampler": _NAMES.get(words),
        "schedule": schedule or None,
        "model": facts.get("Model"),
        "vae": facts.get("VAE"),
    }
    result = base
    for name, value in changes.items():
        if value is None:
            continue
        try:
            result = replace(result, **{name: value}).checked(Limits())
        except RejectedChange:
            # A seed of -1, a sampler of theirs: the rest is still worth having.
            continue
    return result


def _facts(line: str) -> dict[str, str]:
    pattern = r'\s*([\w /-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)'
    return {key.strip(): value.strip().strip('"') for key, value in re.findall(pattern, line)}


def _number(text: str | None, kind: type[int] | type[float]) -> int | float | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
