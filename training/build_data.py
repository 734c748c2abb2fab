"""Seeds enter; packed pictures, sketches and what is true of them leave.

``python -m training.build_data`` writes ``train.npy``, ``train_sketch.npy``, ``train_mask.npy`` and
``train.json``, and the same four of ``held_out``. It goes on where it was interrupted.

``--pack FILE`` writes the drawings of all subjects only: a machine without Debian's packages (one
with a graphics card, say) builds the same examples where NIJIMI_CUT_OUTS names that file.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .scenes import make_example
from .scenes.subjects import missing_sources, pack
from .workspace import arguments

CAPTIONS_A_PICTURE = 4
HELD_OUT_SEED = 10_000_000
"""Examples from this seed on are never trained on."""

MASK_SIDE = 32
"""Masks are kept at the size of the latents."""

ANYWHERE = 0.5
"""Of the subjects to be learnt from; held-out examples are as before it."""

Rendered = tuple[tuple[npt.NDArray[np.uint8], ...], dict[str, Any]]


def render(seed: int, anywhere: float = 0.0) -> Rendered:
    """Picture and sketch, 256 x 256 x 3 each, mask, 32 x 32, and the truth about them."""
    example = make_example(seed, CAPTIONS_A_PICTURE, anywhere=anywhere)
    truth = {
        "seed": seed,
        "captions": example.captions,
        "subject": example.subject,
        "colour": example.colour,
        "people": [person.joints for person in example.people],
    }
    mask = example.mask.resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    return tuple(np.asarray(image) for image in (example.picture, example.sketch, mask)), truth


def build(
    folder: Path, name: str, first: int, count: int, processes: int, anywhere: float = 0.0
) -> None:
    """Render ``count`` examples into ``folder``, those that are not there yet."""
    shapes = {"": (count, 256, 256, 3), "_sketch": (count, 256, 256, 3),
              "_mask": (count, MASK_SIDE, MASK_SIDE)}  # fmt: skip
    paths = [folder / f"{name}{part}.npy" for part in shapes]
    lines = folder / f"{name}.jsonl"
    known = lines.read_text().splitlines() if lines.exists() else []
    mode = "r+" if known and all(path.exists() for path in paths) else "w+"
    if mode == "w+":
        known = []
    arrays = [
        np.lib.format.open_memmap(path, mode=mode, dtype=np.uint8, shape=shape)
        for path, shape in zip(paths, shapes.values(), strict=True)
    ]
    # The last line may have been cut off, and its pictures with it.
    known = known[:-1]
    lines.write_text("".join(line + "\n" for line in known))
    with multiprocessing.Pool(processes) as pool, lines.open("a") as file:
        seeds = range(first + len(known), first + count)
        made = functools.partial(render, anywhere=anywhere)
        for n, (images, truth) in enumerate(pool.imap(made, seeds, chunksize=16), len(known)):
            for array, image in zip(arrays, images, strict=True):
                array[n] = image
            file.write(json.dumps(truth) + "\n")
            if n % 1000 == 0:
                file.flush()
                print(f"{name} {n} of {count}", flush=True)
    for array in arrays:
        array.flush()
    truths = [json.loads(line) for line in lines.read_text().splitlines()]
    (folder / f"{name}.json").write_text(json.dumps(truths))


def main() -> None:
    parser = arguments("Render the examples that everything is trained on.", 0)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--held-out", type=int, default=1_000)
    parser.add_argument("--pack", type=Path, help="write the drawings into this file, no more")
    options = parser.parse_args()
    if missing := missing_sources():
        raise SystemExit(f"Install first: {', '.join(missing)}.")
    if options.pack:
        print(f"{pack(options.pack)} drawings, {options.pack.stat().st_size / 1e6:.1f} MB")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    build(options.work, "held_out", HELD_OUT_SEED, options.held_out, options.threads)
    first = options.seed * 1_000_000
    build(options.work, "train", first, options.count, options.threads, ANYWHERE)


if __name__ == "__main__":
    main()
