"""A workbench enters; how far pictures after a reference are from diffusers' leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nijimi_backend.engine.request import Control
from PIL import Image
from transformers import CLIPImageProcessorPil

from .real_references import ENCODER_PX, write_image_encoder, write_ip_adapter
from .workbench import Row, Workbench, gap, parity_params

__all__ = ["reference_rows"]

_SCALE = 0.7


def reference_rows(bench: Workbench) -> Iterator[Row]:
    """Each form of IP-Adapter, from its file to the latents; and style alone."""
    encoder = write_image_encoder(bench.folder / "vision.safetensors")
    for form, kind in (("plain", "reference"), ("plus", "reference"), ("plain", "style"),
                       ("full", "face")):  # fmt: skip
        name = "some-face" if kind == "face" else "some"
        path = bench.folder / f"{name}.safetensors"
        parts = write_ip_adapter(path, bench.made, form)
        rng = np.random.default_rng(6)
        layer = np.full((96, 64, 4), 255, dtype=np.uint8)
        layer[..., :3] = rng.integers(0, 255, (96, 64, 3), dtype=np.uint8)
        control = Control(kind=kind, pixels=layer, version=1, scale=_SCALE)
        params = parity_params(guidance_scale=3.0)
        ours = bench.ours(params, controls=(control,))
        side = {"height": ENCODER_PX, "width": ENCODER_PX}
        processor: Any = CLIPImageProcessorPil(size={"shortest_edge": ENCODER_PX}, crop_size=side)
        more = {"image_encoder": encoder, "feature_extractor": processor}
        pipe = bench.pipeline("lcm", None, more)
        pipe.load_ip_adapter(
            parts, subfolder="", weight_name="", image_encoder_folder=None,
            low_cpu_mem_usage=False,
        )  # fmt: skip
        pipe.set_ip_adapter_scale(_SCALE if kind != "style" else _style_scales(bench))
        picture = Image.fromarray(np.ascontiguousarray(layer[..., 2::-1]))
        theirs = bench.theirs(pipe, params, lcm_noise=True, ip_adapter_image=picture)
        pipe.unload_ip_adapter()
        path.unlink()
        yield Row(
            feature=f"IP-Adapter file, {form}, for {kind}", family=bench.made.family,
            reference="diffusers", difference=gap(ours, theirs),
        )  # fmt: skip


def _style_scales(bench: Workbench) -> dict[str, Any]:
    """As diffusers' guide writes InstantStyle for SDXL; the same block of SD1."""
    if bench.made.family == "sdxl":
        return {"up": {"block_0": [0.0, _SCALE, 0.0]}}
    return {"up": {"block_1": _SCALE}}
