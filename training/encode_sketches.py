"""Seeds of the training scenes enter; the latents of their rough sketches leave.

``python -m training.encode_sketches``. The sketch and the picture of one seed share their layout:
what a painter begins with, and what should become of it.
"""

from __future__ import annotations

import multiprocessing

import numpy as np
import numpy.typing as npt
import torch

from .networks import make_autoencoder
from .scenes import draw_sketch, random_scene
from .workspace import arguments, device_of, load_checkpoint


def sketch(seed: int) -> npt.NDArray[np.uint8]:
    """One sketch, 256 x 256 x 3."""
    return np.asarray(draw_sketch(random_scene(seed)))


def main() -> None:
    options = arguments("Encode the rough sketch of each training scene.", 0).parse_args()
    device = device_of(options.threads)
    model = make_autoencoder().to(device, memory_format=torch.channels_last).eval()
    saved = load_checkpoint(options.work / "autoencoder.pt")
    if saved is None:
        raise SystemExit("Train the autoencoder first.")
    model.load_state_dict(saved["model"])
    count = len(np.load(options.work / "train.npy", mmap_mode="r"))
    first = options.seed * 1_000_000
    found: list[torch.Tensor] = []
    with multiprocessing.Pool(1) as pool, torch.inference_mode():
        pictures = pool.imap(sketch, range(first, first + count), chunksize=32)
        for start in range(0, count, 16):
            batch = np.stack([next(pictures) for _ in range(min(16, count - start))])
            images = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(model.encode(images).latents.half().cpu())
            if start % 1600 == 0:
                print(f"encoded {start} of {count} sketches", flush=True)
    torch.save({"sketches": torch.cat(found)}, options.work / "sketches.pt")


if __name__ == "__main__":
    main()
