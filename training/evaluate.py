"""An exported model and held-out scenes enter; the numbers of the model card leave.

``python -m training.evaluate [--json FILE]``. Through the same engine as the program.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.engine.stages import decode_latents, encode_canvas
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from PIL import Image

from .build_data import HELD_OUT_SEED
from .scenes import caption_of, draw_scene, draw_sketch, random_scene

SIZE = Extent(256, 256)


def bgra(image: Image.Image) -> npt.NDArray[np.uint8]:
    """RGB picture to opaque BGRA."""
    return np.ascontiguousarray(np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]])


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Peak signal to noise ratio in dB over the colour channels."""
    difference = a[..., :3].astype(np.float64) - b[..., :3]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def coarse(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The colour layout: 16 x 16 means, as one vector."""
    small = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).resize(
        (16, 16), Image.Resampling.BOX
    )
    return np.asarray(small, dtype=np.float64).ravel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--model", type=Path, default=Path("backend/nijimi_backend/embedded/nijimi-mini")
    )
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    engine = open_engine(str(args.model.resolve()))
    bundle = engine._bundle  # pyright: ignore[reportPrivateUsage]
    reconstruction: list[float] = []
    from_sketch: list[float] = []
    sketch_itself: list[float] = []
    layout: list[float] = []
    times: list[float] = []
    for n in range(args.count):
        scene = random_scene(HELD_OUT_SEED + n)
        picture, sketch = draw_scene(scene), bgra(draw_sketch(scene))
        truth = bgra(picture)
        with torch.inference_mode():
            latents = encode_canvas(bundle, np.asarray(picture))
            reconstruction.append(psnr(decode_latents(bundle, latents), truth))
        params = RenderParams(
            prompt=caption_of(scene, random.Random(n)), strength=0.6, num_inference_steps=4, seed=n
        )
        made = engine.render(
            FrameRequest(params=params, extent=SIZE, canvas=sketch, canvas_version=n)
        )
        times.append(made.model_ms)
        from_sketch.append(psnr(made.pixels, truth))
        sketch_itself.append(psnr(sketch, truth))
        layout.append(float(np.corrcoef(coarse(made.pixels), coarse(sketch))[0, 1]))
    result = {
        "scenes": args.count,
        "autoencoder_psnr_db": round(float(np.mean(reconstruction)), 2),
        "sketch_to_picture_psnr_db": round(float(np.mean(from_sketch)), 2),
        "sketch_itself_psnr_db": round(float(np.mean(sketch_itself)), 2),
        "layout_correlation_16x16": round(float(np.mean(layout)), 3),
        "frame_4_steps_ms_p50": round(float(np.median(times)), 1),
        "device": engine.device,
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
