"""Seeds enter; packed pictures and captions leave: ``python -m training.build_data``."""

from __future__ import annotations

import json
import multiprocessing
import random

import numpy as np
import numpy.typing as npt

from .scenes import caption_of, draw_scene, random_scene
from .workspace import arguments

CAPTIONS_A_PICTURE = 4
HELD_OUT_SEED = 10_000_000
"""Scenes from this seed on are never trained on."""


def render(seed: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """One picture, 256 x 256 x 3, and its captions."""
    scene = random_scene(seed)
    captions = [caption_of(scene, random.Random(seed * 31 + n)) for n in range(CAPTIONS_A_PICTURE)]
    return np.asarray(draw_scene(scene)), captions


def main() -> None:
    parser = arguments("Render the scenes that everything is trained on.", 0)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--held-out", type=int, default=200)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name, first, count in (
        ("train", options.seed * 1_000_000, options.count),
        ("held_out", HELD_OUT_SEED, options.held_out),
    ):
        shape = (count, 256, 256, 3)
        pictures = np.lib.format.open_memmap(
            options.work / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        captions: list[list[str]] = []
        with multiprocessing.Pool(options.threads) as pool:
            for n, (pixels, texts) in enumerate(
                pool.imap(render, range(first, first + count), chunksize=16)
            ):
                pictures[n] = pixels
                captions.append(texts)
                if n % 1000 == 0:
                    print(f"{name} {n} of {count}", flush=True)
        pictures.flush()
        (options.work / f"{name}.json").write_text(json.dumps(captions))


if __name__ == "__main__":
    main()
