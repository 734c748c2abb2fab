"""Pictures, sketches and captions enter; latents and token rows leave.

``python -m training.encode_latents``

``--px 128`` encodes at half the size, for a first part of the base's training: a step costs a
quarter of the time there. Keep the ``--scale`` of the full size, or the second part starts anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .networks import make_autoencoder
from .scenes.subjects import SUBJECTS
from .tokens import load_tokenizer, make_tokenizer, token_rows
from .workspace import arguments, device_of, load_checkpoint, mixed


def encode_file(
    model: Any, path: Path, px: int, count: int | None, device: torch.device
) -> torch.Tensor:
    """N pictures become 2N x 4 x px/8 x px/8: row 2n is picture n, row 2n + 1 its mirror."""
    pictures = np.load(path, mmap_mode="r")[:count]
    found: list[torch.Tensor] = []
    with torch.inference_mode(), mixed(device):
        for start in range(0, len(pictures), 16):
            batch = torch.from_numpy(np.array(pictures[start : start + 16])).to(device)
            images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1  # N x 3 x 256 x 256
            if px != images.shape[-1]:
                images = functional.interpolate(images, (px, px), mode="bilinear", antialias=True)
            both = torch.stack([images, images.flip(-1)], 1).flatten(0, 1)  # 2N x 3 x px x px
            found.append(model.encode(both).latents.half().cpu())
            if start % 1600 == 0:
                print(f"encoded {start} of {len(pictures)} of {path.name}", flush=True)
    return torch.cat(found)


def masks_of(path: Path, side: int, count: int | None = None) -> torch.Tensor:
    """How much of each latent is the subject's, 0 to 255: 2N x side x side, rows as above."""
    masks = torch.from_numpy(np.load(path)[:count])[:, None].float()  # N x 1 x 32 x 32
    masks = functional.adaptive_avg_pool2d(masks, side)[:, 0]
    return torch.stack([masks, masks.flip(-1)], 1).flatten(0, 1).round().to(torch.uint8)


def worth_of(subject: str) -> float:
    """How much more often a picture is drawn to learn from, beside 0 of landscapes.

    Houses are small, and in a tenth of the pictures only: left alone, none were painted. People
    have limbs to be learnt, and no more than a tenth of what was drawn was theirs before.
    """
    if subject == "person":
        return 0.5
    return 3.0 if subject == "house" else float(subject in SUBJECTS)


def name_of(truth: dict[str, Any]) -> str:
    """What a painter asks for who fills a selection, such as "a red fish"; "" where it is a scene.

    Of people little more than that there is one would be left.
    """
    if truth["subject"] not in (*SUBJECTS, "house"):
        return ""
    return " ".join(filter(None, ("a", truth["colour"], truth["subject"])))


def main() -> None:
    parser = arguments("Encode each picture, each sketch and their mirrors once.", 0)
    parser.add_argument("--px", type=int, default=256, help="side of the pictures to encode")
    parser.add_argument("--like", type=Path, help="an exported model: its words and its scale")
    parser.add_argument("--scale", type=float, help="else found from the latents")
    parser.add_argument("--count", type=int, help="of the pictures, else all")
    options = parser.parse_args()
    device = device_of(options.threads)
    model = make_autoencoder().to(device, memory_format=torch.channels_last).eval()
    saved = load_checkpoint(options.work / "autoencoder.pt")
    if saved is None:
        raise SystemExit("Train the autoencoder first.")
    model.load_state_dict(saved["model"])
    latents, sketches = (
        encode_file(model, options.work / name, options.px, options.count, device)
        for name in ("train.npy", "train_sketch.npy")
    )
    scale = options.scale
    if options.like and not scale:
        config = json.loads((options.like / "vae" / "config.json").read_text())
        scale = config["scaling_factor"]
    scale = scale or 1.0 / latents.float().std().item()
    truths: list[dict[str, Any]] = json.loads((options.work / "train.json").read_text())
    truths = truths[: options.count]
    flat = [text for truth in truths for text in truth["captions"]]
    if options.like:
        shutil.copytree(options.like / "tokenizer", options.work / "tokenizer", dirs_exist_ok=True)
        tokenizer = load_tokenizer(options.work / "tokenizer")
    else:
        tokenizer = make_tokenizer(flat, options.work / "tokenizer")
    rows = token_rows(tokenizer, flat).to(torch.int16)  # 4N x 77
    empty = token_rows(tokenizer, [""]).to(torch.int16)
    names = token_rows(tokenizer, [name_of(truth) for truth in truths]).to(torch.int16)  # N x 77
    torch.save(
        {
            "latents": latents,
            "sketches": sketches,
            "masks": masks_of(options.work / "train_mask.npy", latents.shape[-1], options.count),
            "worth": torch.tensor([worth_of(t["subject"]) for t in truths]),  # N
            "scale": scale,
            "tokens": rows.view(len(truths), -1, rows.shape[-1]),  # N x 4 x 77
            "names": names,
            "empty": empty,
            "vocab_size": len(tokenizer),
        },
        options.work / "latents.pt",
    )
    longest = int((rows != empty[0, -1]).sum(1).max())
    print(f"scale {scale:.4f}, vocabulary {len(tokenizer)}, longest caption {longest} tokens")


if __name__ == "__main__":
    main()
