"""Fixed pictures, masks and seeds enter; how visible our seams are beside diffusers' leaves.

The same weights, the same steps, three ways: ours, diffusers' inpaint pipeline, and that pipeline
with its own overlay (what it keeps of the old picture is pasted back). Measured at the edge:

- seam: the brightness gradient across the edge, over the mean of those a little inside and a
  little outside; 1 is no seam at all, so what counts is the part above 1;
- step: the colour difference (CIEDE2000) between a band just inside and one just outside, less the
  same of the picture before, which may have an edge of its own there;
- beside: the colour difference of what was not to change, before and after.
"""

# diffusers types its pipelines too narrowly: parts may be absent.
# scikit-image comes with the extra "benchmarks" only.
# pyright: reportArgumentType=false, reportMissingImports=false
from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from diffusers import LCMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import ModelBundle, load_model
from nijimi_backend.picture_files import PictureFile
from nijimi_backend.picture_renderer import PictureRenderer
from nijimi_protocol.geometry import Extent
from nijimi_protocol.inpaint import InpaintMode, InpaintParams
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from transformers import CLIPTextConfig, CLIPTextModel

from .engine_shapes import in_one_type

__all__ = ["compare", "composing_cost_ms", "inpaint_table", "sd15_shaped"]

Pixels = npt.NDArray[np.uint8]

Way = Callable[[Pixels, Pixels, int, float], Pixels]
"""Picture and mask, a seed and a strength in; the repainted picture out."""

STEPS = 4
PROMPT = "a red house on a green hill at sunset"
CASES = 6


def case(seed: int, side: int) -> tuple[Pixels, Pixels]:
    """A painted landscape, RGB, and a mask: disc, rectangle or blob."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    top, low = rng.uniform(40, 255, (2, 3))
    picture = np.broadcast_to(top + (low - top) * rows, (side, side, 3)).astype(np.float32).copy()
    for n in range(4):
        points = [[0, side], *[[x * side // 8, int(side * (0.45 + 0.12 * n) +
                  rng.normal(0, side * 0.03))] for x in range(9)], [side, side]]  # fmt: skip
        cv2.fillPoly(picture, [np.array(points, dtype=np.int32)], rng.uniform(30, 220, 3).tolist())
    picture += cv2.resize(rng.normal(0, 9, (side // 8, side // 8, 3)), (side, side))
    mask = np.zeros((side, side), np.uint8)
    x, y = (int(v) for v in rng.uniform(0.35, 0.65, 2) * side)
    reach = int(side * rng.uniform(0.14, 0.22))
    if seed % 3 == 0:
        cv2.circle(mask, (x, y), reach, 255, -1)
    elif seed % 3 == 1:
        cv2.rectangle(mask, (x - reach, y - reach), (x + reach, y + reach * 3 // 4), 255, -1)
    else:
        noise = cv2.resize(rng.normal(0, 1, (6, 6)), (side, side))
        grid = np.mgrid[0:side, 0:side]
        mask[np.hypot(grid[1] - x, grid[0] - y) < reach * (1 + 0.3 * noise)] = 255
    return picture.clip(0, 255).astype(np.uint8), mask


def seam(result: Pixels, mask: Pixels) -> float:
    """How much steeper brightness is across the edge than near it; 0 is no seam."""
    grey = cv2.cvtColor(result, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5)
    signed = np.asarray(inside - outside)
    # The slope along the normal of the edge, which is where the distance grows.
    nx, ny = cv2.Sobel(signed, cv2.CV_32F, 1, 0), cv2.Sobel(signed, cv2.CV_32F, 0, 1)
    length = np.maximum(np.hypot(nx, ny), 1e-6)
    gx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    gy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = np.abs((gx * nx + gy * ny) / length)
    at_edge = slope[np.abs(signed) <= 2].mean()
    near = slope[(np.abs(signed) > 6) & (np.abs(signed) <= 16)].mean()
    return max(0.0, float(at_edge / max(near, 0.25)) - 1.0)


def colour_step(before: Pixels, result: Pixels, mask: Pixels) -> float:
    """CIEDE2000 between just inside and just outside, beyond what was there before."""

    def step(picture: Pixels) -> npt.NDArray[Any]:
        lab = rgb2lab(picture)
        inner = (mask > 0) & (np.asarray(cv2.erode(mask, _kernel(4))) == 0)
        outer = (mask == 0) & (np.asarray(cv2.dilate(mask, _kernel(4))) > 0)
        means = [_local_mean(lab, part) for part in (inner, outer)]
        edge = inner | outer
        return deltaE_ciede2000(means[0][edge], means[1][edge])

    return max(0.0, float(np.mean(step(result) - step(before))))


def beside(before: Pixels, result: Pixels, mask: Pixels) -> float:
    """CIEDE2000 of the ring around the mask that was to stay."""
    ring = (mask == 0) & (np.asarray(cv2.dilate(mask, _kernel(16))) > 0)
    return float(np.mean(deltaE_ciede2000(rgb2lab(before)[ring], rgb2lab(result)[ring])))


def _kernel(reach: int) -> Pixels:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _local_mean(values: npt.NDArray[Any], part: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The mean over ``part`` within 8 pixels of each place, h x w x 3."""
    weight = part.astype(np.float32)
    total = cv2.blur((values * weight[..., None]).astype(np.float32), (17, 17))
    return np.asarray(total) / np.maximum(np.asarray(cv2.blur(weight, (17, 17))), 1e-4)[..., None]


def _ours(engine: Engine, *, poisson: bool) -> Way:
    renderer = PictureRenderer(engine)
    wish = InpaintParams(mode=InpaintMode.REFINE, poisson=poisson)

    def run(picture: Pixels, mask: Pixels, seed: int, strength: float) -> Pixels:
        params = RenderParams(
            prompt=PROMPT, strength=strength, num_inference_steps=STEPS, seed=seed,
            mode=RenderMode.INPAINT, inpaint=wish,
        )  # fmt: skip
        return renderer.render(params, PictureFile(values=picture), mask).values

    return run


def _theirs(bundle: ModelBundle, *, overlay: bool) -> Way:
    bundle = in_one_type(bundle)
    parts: Any = {"vae": bundle.vae, "text_encoder": bundle.towers[0].encoder, "unet": bundle.unet,
                  "tokenizer": bundle.towers[0].tokenizer,
                  "scheduler": LCMScheduler.from_config(dict(bundle.scheduler_config))}  # fmt: skip
    pipeline: Any = StableDiffusionInpaintPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)

    def run(picture: Pixels, mask: Pixels, seed: int, strength: float) -> Pixels:
        side = picture.shape[0]
        image, where = Image.fromarray(picture), Image.fromarray(mask)
        made = pipeline(
            prompt=PROMPT, image=image, mask_image=where, strength=strength, height=side,
            # The pipeline runs a part of the steps that it is told: as many as ours must remain.
            width=side, num_inference_steps=round(STEPS / strength), guidance_scale=1.0,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]  # fmt: skip
        if overlay:
            made = pipeline.image_processor.apply_overlay(where, image, made)
        return np.asarray(made.convert("RGB"))

    return run


def sd15_shaped() -> ModelBundle:
    """SD1.5's shapes with random weights: what it draws is noise, what it costs is real."""
    torch.manual_seed(0)
    small = load_model(Library([]).find_model(""), choose_device("cpu"))
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
            num_attention_heads=12,
        )
    )  # fmt: skip
    networks: tuple[Any, ...] = (unet, text)
    for network in networks:
        network.requires_grad_(False)
        network.eval()
    unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    info = replace(small.info, name="sd15-shaped", family="sd1", native_px=512)
    # The embedded model's autoencoder and tokenizer: with random ones nothing could be compared.
    return replace(small, info=info, unet=unet, towers=(replace(small.towers[0], encoder=text),))


def compare(model: str, folder: Path | None, cases: int = CASES) -> dict[str, Any]:
    """Medians for each way, and a sheet of pictures in ``folder``."""
    if model == "sd15-shaped":
        bundle = sd15_shaped()
    else:
        bundle = load_model(Library([]).find_model(model), choose_device("cpu"))
    info = bundle.info
    engine = Engine(bundle)
    ways = {
        "ours": _ours(engine, poisson=True),
        "ours, one shift": _ours(engine, poisson=False),
        "diffusers": _theirs(bundle, overlay=False),
        "diffusers, overlay": _theirs(bundle, overlay=True),
    }
    side = info.native_px
    found: dict[str, dict[str, list[float]]] = {
        way: {"seam": [], "step": [], "beside": []} for way in ways
    }
    sheet = Image.new("RGB", (side * (len(ways) + 1), side * cases), "white")
    for n in range(cases):
        picture, mask = case(n, side)
        marked = picture.copy()
        marked[mask > 0] = (marked[mask > 0] * 0.5 + 127).astype(np.uint8)
        sheet.paste(Image.fromarray(marked), (0, side * n))
        for column, (way, run) in enumerate(ways.items(), 1):
            result = run(picture, mask, n, 0.75)
            found[way]["seam"].append(seam(result, mask))
            found[way]["step"].append(colour_step(picture, result, mask))
            found[way]["beside"].append(beside(picture, result, mask))
            sheet.paste(Image.fromarray(result), (side * column, side * n))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        sheet.save(folder / f"inpaint-{info.name}.png")
    return {
        "model": info.name,
        "cases": cases,
        "medians": {
            way: {name: round(statistics.median(values), 3) for name, values in measures.items()}
            for way, measures in found.items()
        },
    }


def composing_cost_ms(model: str, side: int = 1024, runs: int = 15) -> dict[str, float]:
    """What repainting costs beyond the networks, for a large selection on a large canvas."""
    engine = Engine(load_model(Library([]).find_model(model), choose_device("cpu")))
    picture, _ = case(0, side)
    canvas = PictureFile(values=picture).canvas
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), side * 2 // 5, 255, -1)
    params = RenderParams(prompt=PROMPT, num_inference_steps=1, mode=RenderMode.INPAINT)
    spent: list[float] = []
    for n in range(runs + 2):
        request = FrameRequest(
            params=params, extent=Extent(side, side), canvas=canvas, mask=mask,
            canvas_version=n + 1, mask_version=1,
        )  # fmt: skip
        started = time.perf_counter()
        made = engine.render(request)
        spent.append((time.perf_counter() - started) * 1000 - made.model_ms)
    kept = sorted(spent[2:])
    return {"p50": round(kept[len(kept) // 2], 1), "max": round(kept[-1], 1)}


def inpaint_table(report: dict[str, Any]) -> str:
    lines = [f"{report['model']}, {report['cases']} cases, medians"]
    lines.append(f"{'':22}{'seam':>8}{'step':>8}{'beside':>8}")
    for way, values in report["medians"].items():
        lines.append(f"{way:22}" + "".join(f"{value:8.2f}" for value in values.values()))
    if cost := report.get("composing_ms"):
        lines.append(f"beyond the networks, 1024 px: {cost['p50']} ms, at most {cost['max']}")
    return "\n".join(lines)
