"""Small random checkpoints of the real layout enter; how far our latents are from the reference's
leaves, one row a feature: diffusers' own pipelines, LyCORIS's own functions, or a definition."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from nijimi_backend.engine.prompt.encode import encode_texts
from nijimi_backend.engine.prompt.syntax import AdapterUse, weighted_texts
from nijimi_backend.engine.stages import encode_canvas
from nijimi_protocol.params import RenderMode, RenderParams

from .parity_controls import control_rows
from .parity_references import reference_rows
from .real_adapters import KINDS, write_adapter, write_embedding
from .real_hypernets import through, write_hypernetwork
from .real_layout import FAMILIES
from .workbench import BAR, PROMPT, SCHEDULERS, Row, Workbench, gap, parity_params

__all__ = ["measure", "parity_page", "parity_table"]


def measure(families: tuple[str, ...] = FAMILIES) -> Iterator[Row]:
    """Every row; a family's checkpoint is written, compared and thrown away."""
    for family in families:
        with tempfile.TemporaryDirectory() as name:
            bench = Workbench(Path(name), family)
            yield from _pictures(bench)
            yield from _prompts(bench)
            yield from _adapters(bench)
            if family != "sdxl":
                # There are none for it.
                yield _hypernetwork(bench)
            yield from control_rows(bench)
            if family != "sd2":
                # None were released for it.
                yield from reference_rows(bench)


def _pictures(bench: Workbench) -> Iterator[Row]:
    family = bench.made.family
    for sampler in SCHEDULERS:
        for scale in (1.0, 5.0):
            params = parity_params(sampler=sampler, guidance_scale=scale)
            pipe = bench.pipeline(sampler)
            options = {"eta": 0.0} if sampler == "tcd" else {}
            theirs = bench.theirs(pipe, params, lcm_noise=sampler == "lcm", **options)
            yield Row(
                feature=f"text to image, {sampler}, guidance {scale:g}", family=family,
                reference="diffusers", difference=gap(bench.ours(params), theirs),
            )  # fmt: skip
    for schedule in ("karras", "exponential"):
        params = parity_params(sampler="dpmpp_2m", schedule=schedule, num_inference_steps=6)
        pipe = bench.pipeline("dpmpp_2m", **{f"use_{schedule}_sigmas": True})
        yield Row(
            feature=f"text to image, dpmpp_2m {schedule}", family=family, reference="diffusers",
            difference=gap(bench.ours(params), bench.theirs(pipe, params, lcm_noise=False)),
        )  # fmt: skip
    params = parity_params(sampler="euler_a", schedule="trailing", num_inference_steps=1)
    pipe = bench.pipeline("euler_a", timestep_spacing="trailing")
    yield Row(
        feature="one step, trailing (Turbo)", family=family, reference="diffusers",
        difference=gap(bench.ours(params), bench.theirs(pipe, params, lcm_noise=False)),
    )  # fmt: skip
    params = parity_params(sampler="euler", guidance_scale=7.0, guidance_rescale=0.7)
    theirs = bench.theirs(bench.pipeline("euler"), params, lcm_noise=False, guidance_rescale=0.7)
    yield Row(
        feature="guidance rescale 0.7", family=family, reference="diffusers",
        difference=gap(bench.ours(params), theirs),
    )  # fmt: skip
    if family != "sdxl":
        yield _img2img(bench)


def _img2img(bench: Workbench) -> Row:
    """diffusers counts the steps of the whole way, we count those that run: 8 at 0.5 are 4."""
    rng = np.random.default_rng(3)
    canvas = rng.integers(0, 255, (bench.extent.height, bench.extent.width, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    params = parity_params(mode=RenderMode.IMG2IMG, sampler="euler", strength=0.5)
    latents = encode_canvas(bench.bundle, np.ascontiguousarray(canvas[..., 2::-1]))
    pipe = bench.pipeline("euler", StableDiffusionImg2ImgPipeline)
    generator = torch.Generator("cpu").manual_seed(params.seed)
    theirs = pipe(
        prompt=params.prompt, image=latents, strength=0.5, num_inference_steps=8,
        guidance_scale=1.0, generator=generator, output_type="latent",
    ).images  # fmt: skip
    return Row(
        feature="image to image, euler, strength 0.5", family=bench.made.family,
        reference="diffusers", difference=gap(bench.ours(params, canvas), theirs),
    )  # fmt: skip


def _prompts(bench: Workbench) -> Iterator[Row]:
    family = bench.made.family
    with torch.inference_mode():
        params = parity_params(prompt=PROMPT, clip_skip=2 if family != "sdxl" else 3)
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
            difference=gap(bench.ours(params), theirs),
        )  # fmt: skip
        text = "a (red:1.3) boat, ((sea)), [dull] evening " + "and calm deep water, " * 30
        ours = encode_texts(bench.bundle, weighted_texts(text)).embeds
        yield Row(
            feature="weights and a prompt of several chunks", family=family,
            reference="the definition, written out", difference=gap(ours, _defined(bench, text)),
        )  # fmt: skip
        vectors = write_embedding(bench.folder / "my-style.safetensors", bench.made)
        params = parity_params(prompt="a boat in my-style, calm")
        theirs = _with_inversion(bench, params, vectors)
        yield Row(
            feature="textual inversion", family=family, reference="diffusers",
            difference=gap(bench.ours(params), theirs),
        )  # fmt: skip


def _hypernetwork(bench: Workbench) -> Row:
    path = bench.folder / "mood.safetensors"
    pairs = write_hypernetwork(path, bench.made.unet)
    pipe = bench.pipeline("lcm", more={"unet": through(bench.made.unet, (pairs, 0.6))})
    theirs = bench.theirs(pipe, parity_params(prompt=PROMPT), lcm_noise=True)
    ours = bench.ours(parity_params(prompt=f"{PROMPT}<hypernet:mood:0.6>"))
    path.unlink()
    return Row(
        feature="hypernetwork, converted", family=bench.made.family,
        reference="the definition, written out", difference=gap(ours, theirs),
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
                worst = max(worst, gap(ours, before + strength * (whole - before)))
        engine.adapters.use([])
        for network, name in made.merged:
            worst = max(worst, gap(networks[network]()[name], _original(bench, network, name)))
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
            worst = max(worst, gap(now, before))
            continue
        expected = before + sum(
            s * (each.merged[network, name] - before)
            for s, each in zip(strengths, made, strict=True)
        )
        worst = max(worst, gap(own[name], expected))
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
and `test_flow_models.py` hold every row to {BAR:.0e}. Each family is a checkpoint file or a folder
with the names, nesting and text widths of the released ones (those of language models excepted),
small channels and random weights; the same inputs and seed go through our engine and through the
reference, in float32 on a CPU. A picture's difference is that of its
latents before decoding, an adapter's that of the weights, a prompt's that of the embeddings.

{len(rows)} rows, the largest difference {worst:.1e}.

{parity_table(rows)}

Where we differ on purpose: strength shortens the way through the noise, not the number of steps
(diffusers' 8 steps at strength 0.5 are our 4); the shorter of prompt and negative prompt is filled
up with empty chunks (in the web UIs an option); an adapter's two weights are read as UNet's and
then text's; flow-matching networks are told the exact noise by every solver, where diffusers' other
solvers tell them whole thousandths (the rows compare with that put right).
"""
