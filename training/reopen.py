"""An exported model enters; checkpoints leave that every step of the training goes on from.

``python -m training.reopen --model FOLDER``: for when the checkpoints were lost with their machine.
What an exported model does not hold, the optimizers' state, begins anew. Latents are made with the
model's own words and scale then: ``python -m training.encode_latents --like FOLDER``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from .export import EMBEDDED
from .networks import averaged, make_autoencoder, make_text_encoder, make_unet
from .tokens import load_tokenizer
from .train_control import KINDS, make_controlnet
from .workspace import arguments, save_checkpoint

__all__ = ["reopen", "weights_of"]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of an exported part, such as ``nijimi-mini/unet``, as fp32."""
    (path,) = folder.glob("*.safetensors")
    return {key: value.float() for key, value in load_file(path).items()}


def reopen(model: Path, work: Path) -> list[str]:
    """Write what ``resume`` reads; the names of the checkpoints come back."""
    vocab_size = len(load_tokenizer(model / "tokenizer"))
    autoencoder, unet = make_autoencoder(), make_unet()
    text = make_text_encoder(vocab_size, vocab_size - 1)
    parts = {"vae": autoencoder, "unet": unet, "text_encoder": text}
    for name, network in parts.items():
        network.load_state_dict(weights_of(model / name))
    ema = averaged([*unet.parameters(), *text.parameters()])
    lora = weights_of(model / "lcm_lora")
    made: dict[str, dict[str, Any]] = {
        "autoencoder": {"model": autoencoder.state_dict()},
        "base": {
            "unet": unet.state_dict(),
            "text": text.state_dict(),
            "ema": ema.state_dict(),
        },
        "lcm": {"lora": {key.removeprefix("unet."): value for key, value in lora.items()}},
    }
    for kind in KINDS:
        if (folder := model / "controlnet" / kind).is_dir():
            network = make_controlnet(unet)
            network.load_state_dict(weights_of(folder))
            made[f"control_{kind}"] = {"network": network.state_dict()}
    for name, state in made.items():
        save_checkpoint(work / f"{name}.pt", {**state, "step": 0})
    return list(made)


def main() -> None:
    parser = arguments("Write checkpoints of an exported model, to be trained on.", 0)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    if known := sorted(path.name for path in options.work.glob("*.pt") if path.stem != "latents"):
        raise SystemExit(f"{options.work} has checkpoints already ({', '.join(known)}).")
    print(f"wrote {', '.join(reopen(options.model, options.work))}")


if __name__ == "__main__":
    main()
