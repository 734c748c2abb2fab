"""Pictures and captions enter; latents and token rows leave.

``python -m training.encode_latents``
"""

from __future__ import annotations

import json

import numpy as np
import torch

from .networks import make_autoencoder
from .tokens import make_tokenizer, token_rows
from .workspace import arguments, device_of, load_checkpoint


def main() -> None:
    options = arguments("Encode each picture and its mirror once.", 0).parse_args()
    device = device_of(options.threads)
    model = make_autoencoder().to(device, memory_format=torch.channels_last).eval()
    saved = load_checkpoint(options.work / "autoencoder.pt")
    if saved is None:
        raise SystemExit("Train the autoencoder first.")
    model.load_state_dict(saved["model"])
    pictures = np.load(options.work / "train.npy", mmap_mode="r")
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 16):
            batch = torch.from_numpy(np.array(pictures[start : start + 16])).to(device)
            images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1  # N x 3 x 256 x 256
            both = torch.stack([images, images.flip(-1)], 1).flatten(0, 1)  # 2N: straight, mirrored
            found.append(model.encode(both).latents.half().cpu())
            if start % 800 == 0:
                print(f"encoded {start} of {len(pictures)}", flush=True)
    latents = torch.cat(found)
    scale = 1.0 / latents.float().std().item()
    captions: list[list[str]] = json.loads((options.work / "train.json").read_text())
    flat = [text for texts in captions for text in texts]
    tokenizer = make_tokenizer(flat, options.work / "tokenizer")
    rows = token_rows(tokenizer, flat).to(torch.int16)  # 4N x 77
    empty = token_rows(tokenizer, [""]).to(torch.int16)
    torch.save(
        {
            "latents": latents,
            "scale": scale,
            "tokens": rows.view(len(captions), -1, rows.shape[-1]),  # N x 4 x 77
            "empty": empty,
            "vocab_size": len(tokenizer),
        },
        options.work / "latents.pt",
    )
    longest = int((rows != empty[0, -1]).sum(1).max())
    print(f"scale {scale:.4f}, vocabulary {len(tokenizer)}, longest caption {longest} tokens")


if __name__ == "__main__":
    main()
