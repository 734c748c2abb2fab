"""Small random checkpoints of the real layout enter; how far our latents are from the reference's
leaves, one row a feature: diffusers' own pipelines, LyCORIS's own functions, or a definition."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from nijimi_backend.engine import engine as engine_module
from nijimi_backend.engine import frozen as frozen_module
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.prompt.encode import encode_texts
from nijimi_backend.engine.prompt.syntax import AdapterUse, weighted_texts
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.engine.stages import encode_canvas
from nijimi_backend.models.device import Device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams

from .real_adapters import KINDS, write_adapter, write_embedding
from .real_layout import FAMILIES, RealLayout, write_checkpoint

__all__ = ["BAR", "Row", "Workbench", "measure", "parity_page", "parity_table"]

BAR = 1e-4
"""Largest absolute difference on latents, fp32."""

PROMPT = "a red boat on the sea, evening light"
NEGATIVE = "blurry"
SEED = 7

_CPU = Device(torch_device=torch.device("cpu"), dtype=torch.float32, title="CPU")

_SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lcm": (LCMScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": (UniPCMultistepScheduler, {}),
    "tcd": (TCDScheduler, {}),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """``difference``: the largest absolute one between ours and the reference's latents (or, for
    prompts, embeddings; for adapters, weights)."""

    feature: str
    family: str
    reference: str
    difference: float

    @property
    def passes(self) -> bool:
        return self.difference <= BAR


class Workbench:
    """One small checkpoint of a family: our engine on its file, and the networks it was made of."""

    def __init__(self, folder: Path, family: str) -> None:
        self.folder = folder
        self.made: RealLayout = write_checkpoint(folder / f"{family}-model.safetensors", family)
        self.library = Library([folder])
        self.engine = Engine(load_model(self.library.find_model(f"{family}-model"), _CPU),
                             self.library)  # fmt: skip
        side = 128
        self.extent = Extent(side, side)
        self.bundle = self.engine._bundle  # pyright: ignore[reportPrivateUsage]

    def ours(self, params: RenderParams, canvas: Any = None) -> torch.Tensor:
        """The clean latents that our engine would decode."""
        seen: list[torch.Tensor] = []

        def keep(_bundle: Any, latents: torch.Tensor, _vae: Any) -> Any:
            seen.append(latents.clone())
            return np.zeros((8, 8, 4), dtype=np.uint8)

        request = FrameRequest(params=params, extent=self.extent, canvas=canvas)
        with (
            self.eager(),
            mock.patch.object(engine_module, "decode_latents", keep),
            # Small networks, small pictures: what is compared does not depend on their size.
            mock.patch.object(engine_module, "render_extent", return_value=self.extent),
        ):
            self.engine.render(request)
        return seen[0]

    @staticmethod
    def eager() -> AbstractContextManager[object]:
        """Weights are not packed: that takes seconds for each of many kinds of inputs."""
        return mock.patch.object(frozen_module, "MAX_FROZEN_PARAMETERS", 0)

    def pipeline(self, sampler: str, kind: Any = None, **options: Any) -> Any:
        """diffusers' own pipeline of the same networks."""
        cls, fixed = _SCHEDULERS[sampler]
        # As ours lie in memory: another order of sums is no other result.
        self.made.unet.to(memory_format=torch.channels_last)
        config = {
            key: value
            for key, value in self.bundle.scheduler_config.items()
            if key not in ("clip_sample", "rescale_betas_zero_snr")
        }
        scheduler = cls.from_config({**config, **fixed, **options})
        towers = self.bundle.towers
        parts: dict[str, Any] = {
            "vae": self.made.vae,
            "unet": self.made.unet,
            "text_encoder": self.made.encoders[0],
            "tokenizer": towers[0].tokenizer,
            "scheduler": scheduler,
        }
        if self.made.family == "sdxl":
            second = _padded_with_zero(towers[1].tokenizer)
            pipe: Any = StableDiffusionXLPipeline(
                **parts, text_encoder_2=self.made.encoders[1], tokenizer_2=second,
                add_watermarker=False,
            )  # fmt: skip
        else:
            if self.made.family == "sd2":
                parts["tokenizer"] = _padded_with_zero(parts["tokenizer"])
            absent = ("safety_checker", "feature_extractor", "image_encoder")
            parts.update(dict.fromkeys(absent), requires_safety_checker=False)
            pipe = (kind or StableDiffusionPipeline)(**parts)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def theirs(
        self, pipe: Any, params: RenderParams, *, lcm_noise: bool, **options: Any
    ) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(
            params.seed if lcm_noise else params.seed ^ 0x5EED
        )
        shape = (1, 4, self.extent.height // 8, self.extent.width // 8)
        first = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(params.seed))
        if lcm_noise:
            torch.randn(shape, generator=generator)
        call: dict[str, Any] = {
            "prompt": params.prompt, "guidance_scale": params.guidance_scale,
            "num_inference_steps": params.num_inference_steps, "latents": first,
            "generator": generator, "output_type": "latent", "height": self.extent.height,
            "width": self.extent.width,
        }  # fmt: skip
        if params.guidance_scale > 1.0:
            call["negative_prompt"] = params.negative_prompt
        call.update(options)
        return pipe(**call).images


def _padded_with_zero(tokenizer: Any) -> Any:
    """As SD2 and SDXL's second encoder publish theirs."""
    other = copy.deepcopy(tokenizer)
    other.pad_token = "!"
    return other


def _params(**changes: Any) -> RenderParams:
    base = RenderParams(
        prompt=PROMPT, negative_prompt=NEGATIVE, seed=SEED, mode=RenderMode.TXT2IMG, sampler="lcm",
        num_inference_steps=4, guidance_scale=1.0, strength=1.0,
    )  # fmt: skip
    return replace(base, **changes)


def _gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max())


def measure(families: tuple[str, ...] = FAMILIES) -> Iterator[Row]:
    """Every row; a family's checkpoint is written, compared and thrown away."""
    for family in families:
        with tempfile.TemporaryDirectory() as name:
            bench = Workbench(Path(name), family)
            yield from _pictures(bench)
            yield from _prompts(bench)
            yield from _adapters(bench)


def _pictures(bench: Workbench) -> Iterator[Row]:
    family = bench.made.family
    for sampler in _SCHEDULERS:
        for scale in (1.0, 5.0):
            params = _params(sampler=sampler, guidance_scale=scale)
            pipe = bench.pipeline(sampler)
            options = {"eta": 0.0} if sampler == "tcd" else {}
            theirs = bench.theirs(pipe, params, lcm_noise=sampler == "lcm", **options)
            yield Row(
                feature=f"text to image, {sampler}, guidance {scale:g}", family=family,
                reference="diffusers", difference=_gap(bench.ours(params), theirs),
            )  # fmt: skip
    for schedule in ("karras", "exponential"):
        params = _params(sampler="dpmpp_2m", schedule=schedule, num_inference_steps=6)
        pipe = bench.pipeline("dpmpp_2m", **{f"use_{schedule}_sigmas": True})
        yield Row(
            feature=f"text to image, dpmpp_2m {schedule}", family=family, reference="diffusers",
            difference=_gap(bench.ours(params), bench.theirs(pipe, params, lcm_noise=False)),
        )  # fmt: skip
    params = _params(sampler="euler_a", schedule="trailing", num_inference_steps=1)
    pipe = bench.pipeline("euler_a", timestep_spacing="trailing")
    yield Row(
        feature="one step, trailing (Turbo)", family=family, reference="diffusers",
        difference=_gap(bench.ours(params), bench.theirs(pipe, params, lcm_noise=False)),
    )  # fmt: skip
    params = _params(sampler="euler", guidance_scale=7.0, guidance_rescale=0.7)
    theirs = bench.theirs(bench.pipeline("euler"), params, lcm_noise=False, guidance_rescale=0.7)
    yield Row(
        feature="guidance rescale 0.7", family=family, reference="diffusers",
        difference=_gap(bench.ours(params), theirs),
    )  # fmt: skip
    if family != "sdxl":
        yield _img2img(bench)


def _img2img(bench: Workbench) -> Row:
    """diffusers counts the steps of the whole way, we count those that run: 8 at 0.5 are 4."""
    rng = np.random.default_rng(3)
    canvas = rng.integers(0, 255, (bench.extent.height, bench.extent.width, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    params = _params(mode=RenderMode.IMG2IMG, sampler="euler", strength=0.5)
    latents = encode_canvas(bench.bundle, np.ascontiguousarray(canvas[..., 2::-1]))
    pipe = bench.pipeline("euler", StableDiffusionImg2ImgPipeline)
    generator = torch.Generator("cpu").manual_seed(params.seed)
    theirs = pipe(
        prompt=params.prompt, image=latents, strength=0.5, num_inference_steps=8,
        guidance_scale=1.0, generator=generator, output_type="latent",
    ).images  # fmt: skip
    return Row(
        feature="image to image, euler, strength 0.5", family=bench.made.family,
        reference="diffusers", difference=_gap(bench.ours(params, canvas), theirs),
    )  # fmt: skip


def _prompts(bench: Workbench) -> Iterator[Row]:
    family = bench.made.family
    with torch.inference_mode():
        params = _params(prompt=PROMPT, clip_skip=2 if family != "sdxl" else 3)
        pipe = bench.pipeline("lcm")
        if family == "sdxl":
            theirs = bench.theirs(pipe, params, lcm_noise=True, clip_skip=1)
        else:
            # diffusers 0.42 looks for a part of the encoder that transformers 5 has no more.
            told = {"prompt": None, "prompt_embeds": _skipped(bench, params.prompt)}
            theirs = bench.theirs(pipe, params, lcm_noise=True, **told)
        yield Row(
            feature="clip skip", family=family,
            reference="diffusers" if family == "sdxl" else "the definition, written out",
            difference=_gap(bench.ours(params), theirs),
        )  # fmt: skip
        text = "a (red:1.3) boat, ((sea)), [dull] evening " + "and calm deep water, " * 30
        ours = encode_texts(bench.bundle, weighted_texts(text)).embeds
        yield Row(
            feature="weights and a prompt of several chunks", family=family,
            reference="the definition, written out", difference=_gap(ours, _defined(bench, text)),
        )  # fmt: skip
        vectors = write_embedding(bench.folder / "my-style.safetensors", bench.made)
        params = _params(prompt="a boat in my-style, calm")
        theirs = _with_inversion(bench, params, vectors)
        yield Row(
            feature="textual inversion", family=family, reference="diffusers",
            difference=_gap(bench.ours(params), theirs),
        )  # fmt: skip


def _skipped(bench: Workbench, prompt: str) -> torch.Tensor:
    """The last layer but one, with the last norm over it."""
    tower = bench.bundle.towers[0]
    pad = 0 if bench.made.family == "sd2" else 49407
    ids = tower.tokenizer(prompt).input_ids
    made = tower.encoder(torch.tensor([ids + [pad] * (77 - len(ids))]), output_hidden_states=True)
    return tower.body.final_layer_norm(made.hidden_states[-2])


def _with_inversion(
    bench: Workbench, params: RenderParams, vectors: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """diffusers' way: new words in the vocabulary, whose embeddings are the vectors."""
    saved = bench.made.encoders
    bench_made = replace(bench.made, encoders=tuple(copy.deepcopy(each) for each in saved))
    bench.made, kept = bench_made, bench.made
    try:
        pipe = bench.pipeline("lcm")
        pipe.tokenizer = copy.deepcopy(pipe.tokenizer)
        pipe.load_textual_inversion(
            {"my-style": vectors[0]}, token="my-style", text_encoder=pipe.text_encoder,
            tokenizer=pipe.tokenizer,
        )  # fmt: skip
        if len(vectors) > 1:
            pipe.load_textual_inversion(
                {"my-style": vectors[1]}, token="my-style", text_encoder=pipe.text_encoder_2,
                tokenizer=pipe.tokenizer_2,
            )  # fmt: skip
        return bench.theirs(pipe, params, lcm_noise=True)
    finally:
        bench.made = kept


def _defined(bench: Workbench, text: str) -> torch.Tensor:
    """A1111's definition, token by token: chunks of 75, a weight a token, the mean kept.

    The weights of this one text are written down by hand, so that our reader is tested, too.
    """
    pieces = [("a ", 1.0), ("red", 1.3), (" boat, ", 1.0), ("sea", 1.1 * 1.1), (", ", 1.0),
              ("dull", 1 / 1.1), (" evening " + "and calm deep water, " * 30, 1.0)]  # fmt: skip
    assert "".join(piece for piece, _ in pieces) == text.translate(
        str.maketrans("", "", "()[]")
    ).replace("red:1.3", "red")
    results: list[torch.Tensor] = []
    for tower in bench.bundle.towers:
        tokens: list[tuple[int, float]] = []
        for piece, weight in pieces:
            ids = tower.tokenizer(piece, add_special_tokens=False).input_ids
            tokens += [(token, weight) for token in ids]
        comma = tower.tokenizer(",", add_special_tokens=False).input_ids[0]
        chunks: list[list[tuple[int, float]]] = []
        while tokens:
            cut = min(75, len(tokens))
            if len(tokens) > 75:
                commas = [n for n in range(75) if tokens[n][0] == comma]
                if tokens[75][0] != comma and commas and 75 - (commas[-1] + 1) < 20:
                    cut = commas[-1] + 1
            chunks.append(tokens[:cut])
            tokens = tokens[cut:]
        pad = 0 if tower.name == "te2" or bench.made.family == "sd2" else 49407
        for chunk in chunks:
            ids = [49406, *(token for token, _ in chunk), 49407]
            weights = [1.0, *(weight for _, weight in chunk), 1.0]
            ids += [pad] * (77 - len(ids))
            weights += [1.0] * (77 - len(weights))
            made = tower.encoder(torch.tensor([ids]), output_hidden_states=True)
            hidden = made.last_hidden_state if tower.normed else made.hidden_states[-2]
            weighed = hidden * torch.tensor(weights)[None, :, None]
            results.append(weighed * (hidden.mean() / weighed.mean()))
    count = len(results) // len(bench.bundle.towers)
    rows = [torch.cat(results[n * count : (n + 1) * count], dim=1)
            for n in range(len(bench.bundle.towers))]  # fmt: skip
    return torch.cat(rows, dim=-1)


def _adapters(bench: Workbench) -> Iterator[Row]:
    engine, family = bench.engine, bench.made.family
    networks: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
        "unet": lambda: dict(bench.bundle.unet.named_parameters()),
        "te1": lambda: dict(bench.bundle.towers[0].body.named_parameters()),
    }
    for kind in KINDS:
        made = write_adapter(bench.folder / f"{kind}.safetensors", kind, bench.made)
        worst = 0.0
        for strength in (1.0, 0.6):
            use = AdapterUse(name=kind, unet_weight=strength, te_weight=strength)
            failures = engine.adapters.use([use])
            assert not failures, failures
            for (network, name), whole in made.merged.items():
                ours = networks[network]()[name]
                before = _original(bench, network, name)
                worst = max(worst, _gap(ours, before + strength * (whole - before)))
        engine.adapters.use([])
        for network, name in made.merged:
            worst = max(worst, _gap(networks[network]()[name], _original(bench, network, name)))
        by_hand = kind.startswith("lora-") or kind == "full-difference"
        yield Row(
            feature=f"{kind}, strengths 1, 0.6 and 0 again", family=family,
            reference="merged by hand" if by_hand else "LyCORIS", difference=worst,
        )  # fmt: skip
    yield _many(bench)


def _many(bench: Workbench) -> Row:
    """Several at once are the sum of their differences."""
    kinds = ("lora-kohya", "loha", "lokr")
    made = [write_adapter(bench.folder / f"{k}.safetensors", k, bench.made, n)
            for n, k in enumerate(kinds)]  # fmt: skip
    strengths = (0.8, -0.5, 0.3)
    uses = [AdapterUse(name=k, unet_weight=s, te_weight=0.0)
            for k, s in zip(kinds, strengths, strict=True)]  # fmt: skip
    assert not bench.engine.adapters.use(uses)
    own = dict(bench.bundle.unet.named_parameters())
    worst = 0.0
    for network, name in made[0].merged:
        before = _original(bench, network, name)
        if network != "unet":
            now = dict(bench.bundle.towers[0].body.named_parameters())[name]
            worst = max(worst, _gap(now, before))
            continue
        expected = before + sum(
            s * (each.merged[network, name] - before)
            for s, each in zip(strengths, made, strict=True)
        )
        worst = max(worst, _gap(own[name], expected))
    bench.engine.adapters.use([])
    return Row(
        feature="three at once, own weights, text at 0", family=bench.made.family,
        reference="sum of the differences", difference=worst,
    )  # fmt: skip


def _original(bench: Workbench, network: str, name: str) -> torch.Tensor:
    encoder = bench.made.encoders[0]
    source = bench.made.unet if network == "unet" else getattr(encoder, "text_model", encoder)
    return dict(source.named_parameters())[name]


def parity_table(rows: list[Row]) -> str:
    """Markdown, as docs/parity.md shows it."""
    lines = ["| feature | family | reference | largest difference |", "|---|---|---|---|"]
    for row in rows:
        mark = "" if row.passes else " **over the bar**"
        lines.append(
            f"| {row.feature} | {row.family} | {row.reference} | {row.difference:.1e}{mark} |"
        )
    return "\n".join(lines)


def parity_page(rows: list[Row]) -> str:
    """The whole of docs/parity.md."""
    worst = max(row.difference for row in rows)
    return f"""# Parity

Made by `python -m benchmarks parity --markdown docs/parity.md`; `tests/backend/test_checkpoints.py`
holds every row to {BAR:.0e}. Each family is a checkpoint file with the names, nesting and text
widths of the released files, small channels and random weights; the same inputs and seed go through
our engine and through the reference, in float32 on a CPU. A picture's difference is that of its
latents before decoding, an adapter's that of the weights, a prompt's that of the embeddings.

{len(rows)} rows, the largest difference {worst:.1e}.

{parity_table(rows)}

Where we differ on purpose: strength shortens the way through the noise, not the number of steps
(diffusers' 8 steps at strength 0.5 are our 4); the shorter of prompt and negative prompt is filled
up with empty chunks (in the web UIs an option); an adapter's two weights are read as UNet's and
then text's.
"""
