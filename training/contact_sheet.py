"""An exported model enters; one picture of what it can do leaves.

``python -m training.contact_sheet -o sheet.png``: held-out sketches at three strengths beside the
real picture, then prompts by seeds.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.request import FrameRequest
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image

from .build_data import HELD_OUT_SEED
from .evaluate import bgra
from .scenes import caption_of, draw_scene, draw_sketch, random_scene

STRENGTHS = (0.4, 0.6, 0.8)
PROMPTS = (
    "a red house on a green hill at sunset, pine trees, painterly",
    "the sea at night, moon and stars",
    "snowy mountains, fir trees, day, painterly",
    "palm trees on a beach, sun, flat",
)


def render(
    engine: Engine, params: RenderParams, canvas: Image.Image | None, key: int
) -> Image.Image:
    """One picture of the engine as RGB."""
    request = FrameRequest(
        params=params,
        extent=Extent(256, 256),
        canvas=bgra(canvas) if canvas is not None else None,
        canvas_version=key,
    )
    pixels = engine.render(request).pixels
    return Image.fromarray(np.ascontiguousarray(pixels[..., 2::-1]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--model", type=Path, default=Path("backend/nijimi_backend/embedded/nijimi-mini")
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("--rows", type=int, default=5)
    args = parser.parse_args()
    engine = open_engine(str(args.model.resolve()))
    columns = len(STRENGTHS) + 2
    sheet = Image.new("RGB", (256 * columns, 256 * (args.rows + len(PROMPTS))), "white")
    for row in range(args.rows):
        scene = random_scene(HELD_OUT_SEED + 7 * row)
        caption, sketch = caption_of(scene, random.Random(row)), draw_sketch(scene)
        print(f"row {row + 1}: {caption}")
        pictures = [sketch]
        for strength in STRENGTHS:
            params = RenderParams(prompt=caption, strength=strength, seed=row)
            pictures.append(render(engine, params, sketch, row))
        pictures.append(draw_scene(scene))
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (256 * column, 256 * row))
    for row, prompt in enumerate(PROMPTS):
        for seed in range(columns):
            params = RenderParams(prompt=prompt, mode=RenderMode.TXT2IMG, seed=seed)
            picture = render(engine, params, None, 0)
            sheet.paste(picture, (256 * seed, 256 * (args.rows + row)))
    sheet.save(args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
