"""Checkpoints enter; a model folder in diffusers' layout leaves: ``python -m training.export``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from .networks import SCHEDULER, fill_averaged, make_autoencoder, make_text_encoder, make_unet
from .train_control import KINDS, make_controlnet
from .workspace import arguments, load_checkpoint

EMBEDDED = Path("backend/nijimi_backend/embedded/nijimi-mini")
CARD = Path(__file__).with_name("MODEL_CARD.md")


def main() -> None:
    parser = arguments("Write the trained networks as the embedded model, fp16.", 0)
    parser.add_argument("--output", type=Path, default=EMBEDDED)
    parser.add_argument(
        "--random", action="store_true", help="untrained weights where a checkpoint is missing"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    work, output = options.work, options.output
    checkpoints = {n: load_checkpoint(work / f"{n}.pt") for n in ("autoencoder", "base", "lcm")}
    missing = [name for name, found in checkpoints.items() if found is None]
    if missing and not options.random:
        raise SystemExit(f"Not trained yet: {', '.join(missing)}. Train first, or pass --random.")
    data = torch.load(work / "latents.pt", weights_only=True)
    vae = make_autoencoder()
    vae.register_to_config(scaling_factor=data["scale"])
    if checkpoints["autoencoder"]:
        vae.load_state_dict(checkpoints["autoencoder"]["model"])
    unet = make_unet()
    text = make_text_encoder(data["vocab_size"], data["vocab_size"] - 1)
    if base := checkpoints["base"]:
        fill_averaged(base, unet, text)
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    vae.half().save_pretrained(output / "vae")
    unet.half().save_pretrained(output / "unet")
    text.half().save_pretrained(output / "text_encoder")
    # Not LCM's own way, which adds noise anew after each step. Of 40 sketches at strength 0.6 that
    # kept the layout of colours by a correlation of 0.64, and DDIM's by 0.75 (4 steps).
    scheduler = DDIMScheduler(
        **SCHEDULER,
        set_alpha_to_one=True,
        clip_sample=False,
        # From the end, where there is no signal.
        timestep_spacing="trailing",
    )
    # How ``selections`` taught it to fill; the engine asks for it.
    scheduler.register_to_config(known_latents="clean")
    scheduler.save_pretrained(output / "scheduler")
    shutil.copytree(work / "tokenizer", output / "tokenizer")
    for kind in KINDS:
        if saved := load_checkpoint(work / f"control_{kind}.pt"):
            network = make_controlnet(make_unet())
            network.load_state_dict(saved["network"])
            network.half().save_pretrained(output / "controlnet" / kind)
    if lcm := checkpoints["lcm"]:
        # peft's own key names, which diffusers reads as they are.
        layers = {key: value.half().contiguous() for key, value in lcm["lora"].items()}
        StableDiffusionPipeline.save_lora_weights(output / "lcm_lora", unet_lora_layers=layers)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    if CARD.exists():
        shutil.copy(CARD, output / CARD.name)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"wrote {output}, {size / 1e6:.1f} MB, missing: {', '.join(missing) or 'nothing'}")


if __name__ == "__main__":
    main()
