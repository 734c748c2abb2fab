"""A family and a folder enter; small random flow-matching models in the layout of the real ones
leave: SD3 as one file and as a folder, Z-Image as files and as a folder."""

# diffusers types its configurations too narrowly.
# pyright: reportArgumentType=false
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from nijimi_backend.models.tokenizer import clip_tokenizer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from .real_layout import original_vae_name

__all__ = [
    "FlowLayout",
    "write_sd3_file",
    "write_sd3_files",
    "write_sd3_folder",
    "write_zimage_files",
    "write_zimage_folder",
]

_CONTEXT = 2112
"""Width of the text that SD3's transformer reads: 768 and 1280 side by side, and some zeros. The
released ones have 4096, T5's own."""

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen3's template, as far as one message with thinking allowed goes."""


@dataclass(frozen=True, kw_only=True)
class FlowLayout:
    """A written model, and the parts that diffusers' pipeline of it takes, float32."""

    path: Path
    parts: dict[str, Any]


def write_sd3_file(
    path: Path, *, newer: bool = False, t5: bool = False, seed: int = 0
) -> FlowLayout:
    """One .safetensors with both CLIP encoders. ``newer``: as SD3.5 medium, with normed queries and
    a second attention in its first blocks. ``t5``: with T5, whose words lie beside the file."""
    parts = _sd3_parts(newer=newer, t5=t5, seed=seed)
    weights: dict[str, torch.Tensor] = {}
    for key, value in _original_sd3(parts["transformer"]).items():
        weights[f"model.diffusion_model.{key}"] = value
    levels = len(parts["vae"].config["block_out_channels"])
    for key, value in parts["vae"].state_dict().items():
        name, value = original_vae_name(key, value, levels)
        weights[f"first_stage_model.{name}"] = value
    for name, encoder in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")):
        for key, value in parts[encoder].state_dict().items():
            if name == "clip_g" or not key.startswith("text_projection"):
                weights[f"text_encoders.{name}.transformer.{key}"] = value
    if t5:
        for key, value in _t5_weights(parts["text_encoder_3"]).items():
            weights[f"text_encoders.t5xxl.transformer.{key}"] = value
        _save_tokenizer(parts["tokenizer_3"], path.with_name("tokenizer_3"), "T5Tokenizer")
    save_file({key: value.half().contiguous() for key, value in weights.items()}, path)
    return FlowLayout(path=path, parts=parts)


def write_sd3_files(path: Path, *, seed: int = 0) -> FlowLayout:
    """The network in one file, everything else in files of their own, as ComfyUI keeps SD3.5's."""
    made = write_sd3_file(path, t5=True, seed=seed)
    whole = load_file(path)
    prefixes = {
        "clip_l": "text_encoders.clip_l.transformer.",
        "clip_g": "text_encoders.clip_g.transformer.",
        "t5xxl_fp16": "text_encoders.t5xxl.transformer.",
        "sd3_vae": "first_stage_model.",
    }
    for name, prefix in prefixes.items():
        own = {key: whole.pop(key) for key in list(whole) if key.startswith(prefix)}
        save_file(
            {key.removeprefix(prefix): value for key, value in own.items()},
            path.with_name(f"{name}.safetensors"),
        )
    save_file(whole, path)
    return made


def _t5_weights(encoder: Any) -> dict[str, torch.Tensor]:
    """Its table of words once, as the released files hold it."""
    own = dict(encoder.state_dict())
    own.pop("encoder.embed_tokens.weight", None)
    return own


def write_sd3_folder(path: Path, *, t5: bool = True, seed: int = 0) -> FlowLayout:
    """A folder in diffusers' layout."""
    parts = _sd3_parts(newer=False, t5=t5, seed=seed)
    _save_folder(path, "StableDiffusion3Pipeline", parts)
    return FlowLayout(path=path, parts=parts)


def write_zimage_folder(path: Path, *, seed: int = 0) -> FlowLayout:
    """A folder in diffusers' layout, as Z-Image-Turbo is published."""
    parts = _zimage_parts(seed)
    _save_folder(path, "ZImagePipeline", parts)
    return FlowLayout(path=path, parts=parts)


def write_zimage_files(path: Path, *, seed: int = 0) -> FlowLayout:
    """The network as one file, and what it needs in files of their own, as ComfyUI keeps them; the
    tokenizer is the published folder's."""
    parts = _zimage_parts(seed)
    names = {
        path: _original_zimage(parts["transformer"]),
        path.with_name("qwen_3_4b.safetensors"): {
            f"model.{key}": value for key, value in parts["text_encoder"].state_dict().items()
        },
        path.with_name("ae.safetensors"): dict(
            original_vae_name(key, value, len(parts["vae"].config["block_out_channels"]))
            for key, value in parts["vae"].state_dict().items()
        ),
    }
    for file, weights in names.items():
        save_file({key: value.half().contiguous() for key, value in weights.items()}, file)
    _save_tokenizer(parts["tokenizer"], path.with_name("tokenizer"), "Qwen2Tokenizer")
    return FlowLayout(path=path, parts=parts)


def _zimage_parts(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    tokenizer = _qwen_tokenizer()
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        )
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        dim=256, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=64,
    )  # fmt: skip
    return {
        "transformer": _settled(_with_norms(transformer)),
        "text_encoder": _settled(encoder),
        "tokenizer": tokenizer,
        "vae": _settled(_make_vae(0.3611, 0.1159)),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def _sd3_parts(*, newer: bool, t5: bool, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=16, out_channels=16, num_layers=3,
        attention_head_dim=64, num_attention_heads=2, joint_attention_dim=_CONTEXT,
        caption_projection_dim=128, pooled_projection_dim=2048, pos_embed_max_size=96,
        dual_attention_layers=(0, 1) if newer else (), qk_norm="rms_norm" if newer else None,
    )  # fmt: skip
    first = _clip(768, "quick_gelu", 49407)
    # It has no projection in the published files.
    torch.nn.init.eye_(first.text_projection.weight)
    tokenizer, second = clip_tokenizer(), clip_tokenizer()
    tokenizer.pad_token, second.pad_token = "<|endoftext|>", "!"
    parts: dict[str, Any] = {
        "transformer": _settled(_with_norms(transformer)),
        "text_encoder": _settled(first),
        "tokenizer": tokenizer,
        "text_encoder_2": _settled(_clip(1280, "gelu", 0)),
        "tokenizer_2": second,
        "vae": _settled(_make_vae(1.5305, 0.0609)),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        "text_encoder_3": None,
        "tokenizer_3": None,
    }
    if t5:
        words = _t5_tokenizer()
        config = T5Config(
            vocab_size=len(words), d_model=_CONTEXT, d_kv=8, d_ff=64, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu",
        )  # fmt: skip
        parts |= {"text_encoder_3": _settled(T5EncoderModel(config)), "tokenizer_3": words}
    return parts


def _clip(width: int, act: str, pad: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=width // 64, max_position_embeddings=77, hidden_act=act,
        projection_dim=width, bos_token_id=49406, eos_token_id=49407, pad_token_id=pad,
    )  # fmt: skip
    return _with_norms(CLIPTextModelWithProjection(config))


def _make_vae(scale: float, shift: float) -> Any:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        scaling_factor=scale,
        shift_factor=shift,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=128,
    )


def _settled(network: Any) -> Any:
    """With the weights that a half-precision file keeps of it."""
    return network.half().float().eval().requires_grad_(False)


def _with_norms(network: Any) -> Any:
    """Norms as trained ones are, not 1 and 0, and nothing that begins as zeros."""
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm) and module.elementwise_affine:
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.1, 0.2)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0.0, 0.02)
    return network


def _original_sd3(transformer: Any) -> dict[str, torch.Tensor]:
    """The weights of an SD3 transformer under the names of the released files."""
    own = transformer.state_dict()
    last = int(transformer.config["num_layers"]) - 1
    made = {
        "pos_embed": own["pos_embed.pos_embed"],
        **_renamed(own, "pos_embed.proj", "x_embedder.proj"),
        **_renamed(own, "context_embedder", "context_embedder"),
        **_renamed(own, "proj_out", "final_layer.linear"),
    }
    for which, name in (("timestep_embedder", "t_embedder"), ("text_embedder", "y_embedder")):
        for number, layer in ((1, 0), (2, 2)):
            made |= _renamed(own, f"time_text_embed.{which}.linear_{number}", f"{name}.mlp.{layer}")
    swapped = {"norm_out.linear": "final_layer.adaLN_modulation.1"}
    for n in range(last + 1):
        ours, theirs = f"transformer_blocks.{n}", f"joint_blocks.{n}"
        for side, names, out in (("x_block", "to_q to_k to_v", "to_out.0"),
                                 ("context_block", "add_q_proj add_k_proj add_v_proj",
                                  "to_add_out")):  # fmt: skip
            made |= _fused(own, f"{ours}.attn", names.split(), f"{theirs}.{side}.attn.qkv")
            made |= _renamed(own, f"{ours}.attn.{out}", f"{theirs}.{side}.attn.proj")
        if f"{ours}.attn2.to_q.weight" in own:
            names = ["to_q", "to_k", "to_v"]
            made |= _fused(own, f"{ours}.attn2", names, f"{theirs}.x_block.attn2.qkv")
            made |= _renamed(own, f"{ours}.attn2.to_out.0", f"{theirs}.x_block.attn2.proj")
        for norm, name in (("norm_q", "ln_q"), ("norm_k", "ln_k")):
            made |= _renamed(own, f"{ours}.attn.{norm}", f"{theirs}.x_block.attn.{name}")
            added = norm.replace("norm_", "norm_added_")
            made |= _renamed(own, f"{ours}.attn.{added}", f"{theirs}.context_block.attn.{name}")
            made |= _renamed(own, f"{ours}.attn2.{norm}", f"{theirs}.x_block.attn2.{name}")
        made |= _renamed(own, f"{ours}.norm1.linear", f"{theirs}.x_block.adaLN_modulation.1")
        context = f"{theirs}.context_block.adaLN_modulation.1"
        if n == last:
            swapped[f"{ours}.norm1_context.linear"] = context
        else:
            made |= _renamed(own, f"{ours}.norm1_context.linear", context)
        for part, side in (("ff", "x_block"), ("ff_context", "context_block")):
            made |= _renamed(own, f"{ours}.{part}.net.0.proj", f"{theirs}.{side}.mlp.fc1")
            made |= _renamed(own, f"{ours}.{part}.net.2", f"{theirs}.{side}.mlp.fc2")
    for ours, theirs in swapped.items():
        for ending in ("weight", "bias"):
            # Scale and shift stand the other way round there.
            scale, shift = own[f"{ours}.{ending}"].chunk(2)
            made[f"{theirs}.{ending}"] = torch.cat([shift, scale])
    return made


def _original_zimage(transformer: Any) -> dict[str, torch.Tensor]:
    """The weights of a Z-Image transformer under the names of the released single files."""
    own = transformer.state_dict()
    made: dict[str, torch.Tensor] = {}
    for key, value in own.items():
        if ".attention.to_k." in key or ".attention.to_v." in key:
            continue
        if ".attention.to_q." in key:
            three = [own[key.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            made[key.replace("to_q", "qkv")] = torch.cat(three)
            continue
        for ours, theirs in (("all_x_embedder.2-1.", "x_embedder."), ("to_out.0.", "out."),
                             ("all_final_layer.2-1.", "final_layer."), ("norm_q.", "q_norm."),
                             ("norm_k.", "k_norm.")):  # fmt: skip
            key = key.replace(ours, theirs)
        made[key] = value
    return made


def _renamed(own: dict[str, torch.Tensor], ours: str, theirs: str) -> dict[str, torch.Tensor]:
    return {f"{theirs}.{ending}": own[f"{ours}.{ending}"]
            for ending in ("weight", "bias") if f"{ours}.{ending}" in own}  # fmt: skip


def _fused(
    own: dict[str, torch.Tensor], ours: str, names: list[str], theirs: str
) -> dict[str, torch.Tensor]:
    return {
        f"{theirs}.{ending}": torch.cat([own[f"{ours}.{name}.{ending}"] for name in names])
        for ending in ("weight", "bias")
    }


def _t5_tokenizer() -> Any:
    """A vocabulary of letters and some words, pieced together and ended as T5's is."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("\u2581", -3.0)]
    pieces += [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz,.:()"]
    pieces += [(f"\u2581{word}", -2.0) for word in ("a", "red", "boat", "on", "the", "sea")]
    made = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=512,
    )  # fmt: skip


def _qwen_tokenizer() -> Any:
    """Bytes as tokens, in Qwen's manner, and its marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<|endoftext|>", eos_token="<|im_end|>",
        model_max_length=4096,
    )  # fmt: skip
    tokenizer.chat_template = _CHAT
    return tokenizer


def _save_tokenizer(tokenizer: Any, folder: Path, says: str) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "tokenizer_class": says}))


def _save_folder(path: Path, pipeline: str, parts: dict[str, Any]) -> None:
    path.mkdir(parents=True)
    for name, part in parts.items():
        if part is not None:
            part.save_pretrained(path / name)
    (path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
