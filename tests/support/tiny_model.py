"""A folder enters; a model of the real layout with small random weights is written into it."""

# diffusers types its configuration and its outputs too narrowly.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, LCMScheduler, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

__all__ = ["write_tiny_model"]


def write_tiny_model(
    path: Path,
    *,
    prediction_type: str = "v_prediction",
    full_vae: bool = False,
    lora: bool = False,
    inpaint: bool = False,
    attention_first: bool = False,
) -> Path:
    """A model that loads and runs in milliseconds; native 64 px.

    ``attention_first``: levels in SD1's order, as control networks expect them.
    """
    torch.manual_seed(7)
    levels = ("CrossAttnDownBlock2D", "DownBlock2D")
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=9 if inpaint else 4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=levels if attention_first else levels[::-1],
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")
        if attention_first
        else ("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    unet.save_pretrained(path / "unet")
    vae: AutoencoderKL | AutoencoderTiny
    if full_vae:
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            sample_size=64,
        )
    else:
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            num_encoder_blocks=(0, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 0),
        )
    vae.save_pretrained(path / "vae")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!?#'"
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
        pad_token_id=len(tokens) - 1,
    )
    CLIPTextModel(config).save_pretrained(path / "text_encoder")
    tokenizer = path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(tokens)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    LCMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        set_alpha_to_one=False,
    ).save_pretrained(path / "scheduler")
    if lora:
        unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "conv1"]))
        state = get_peft_model_state_dict(unet)
        noisy = {key: torch.randn_like(value) for key, value in state.items()}
        (path / "lcm_lora").mkdir()
        save_file(
            {"unet." + key: value.contiguous() for key, value in noisy.items()},
            path / "lcm_lora" / "pytorch_lora_weights.safetensors",
        )
    (path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return path
