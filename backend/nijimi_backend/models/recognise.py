"""A weight file's header enters; what it is, and for which family, leaves.

Only names and shapes of tensors count (and metadata where a maker said more), never the file's
name. The names are those of the original releases: LDM for checkpoints, kohya, diffusers and peft
for adapters, A1111 for embeddings.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from .headers import WeightsHeader

__all__ = ["UNET", "VAE", "FileKind", "Recognised", "recognise", "text_width_family"]

UNET = "model.diffusion_model."
VAE = "first_stage_model."


class FileKind(str, enum.Enum):
    """What a file of weights is for."""

    CHECKPOINT = "checkpoint"
    TRANSFORMER = "transformer"
    LORA = "lora"
    EMBEDDING = "embedding"
    VAE = "vae"
    TAESD = "taesd"
    CONTROLNET = "controlnet"
    T2I_ADAPTER = "t2i-adapter"
    IP_ADAPTER = "ip-adapter"
    TEXT_ENCODER = "text-encoder"
    IMAGE_ENCODER = "image-encoder"
    UPSCALER = "upscaler"
    HYPERNETWORK = "hypernetwork"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """``family``: sd1, sd2, sdxl, sdxl-refiner, sd3, flux, zimage, of a text encoder clip_l,
    clip_g, t5 or qwen3, or "" where it is not told.

    ``form``: what else matters: "inpaint", "v" (predicts v), "edit", "union"; "" for the plain one.
    """

    kind: FileKind
    family: str = ""
    form: str = ""


_BY_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}

_UPSCALERS = (
    "body.0.rdb1.conv1.weight",
    "body.0.weight",
    "model.1.sub.0.RDB1.conv1.0.weight",
    "conv_first.weight",
    "model.0.weight",
    "residual_layer.0.residual_layer.0.layer.0.fn.0.weight",
)


def text_width_family(width: int) -> str:
    """The family whose UNet reads text of that width; "" for one that we do not know."""
    return _BY_TEXT_WIDTH.get(width, "")


def recognise(header: WeightsHeader) -> Recognised:
    """What the file is; ``FileKind.UNKNOWN`` where nothing fits."""
    for look in (_adapter, _checkpoint, _part, _embedding):
        if found := look(header):
            return found
    return Recognised(kind=FileKind.UNKNOWN)


def _checkpoint(header: WeightsHeader) -> Recognised | None:
    kind = FileKind.CHECKPOINT
    if header.has(UNET + "input_blocks.0.0.weight"):
        channels = header.shapes[UNET + "input_blocks.0.0.weight"][1]
        family = _unet_family(header)
        form = {9: "inpaint", 8: "edit"}.get(channels, "")
        return Recognised(
            kind=kind, family=family, form=form or ("v" if _predicts_v(header, family) else "")
        )
    for prefix in (UNET, ""):
        whole = kind if prefix else FileKind.TRANSFORMER
        if header.has(prefix + "joint_blocks.0.context_block.attn.qkv.weight"):
            return Recognised(kind=whole, family="sd3")
        if header.has(prefix + "double_blocks.0.img_attn.qkv.weight"):
            return Recognised(kind=whole, family="flux")
        if header.has(prefix + "cap_embedder.1.weight", prefix + "x_pad_token"):
            return Recognised(kind=whole, family="zimage")
    if header.has("down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight"):
        return Recognised(kind=FileKind.TRANSFORMER, family=_unet_family(header))
    return None


def _predicts_v(header: WeightsHeader, family: str) -> bool:
    """What the weights cannot show is said by their maker: in the metadata, or by an empty tensor
    named v_pred, as SDXL's v models carry. For SD2 see ``loader``: there the weights do show it."""
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    return said.startswith("v") or (family == "sdxl" and header.has("v_pred"))


def _unet_family(header: WeightsHeader) -> str:
    """By the width of the text that the first cross attention reads."""
    reads = (s[1] for key, s in header.shapes.items() if key.endswith("attn2.to_k.weight"))
    return text_width_family(next(reads, 0))


def _adapter(header: WeightsHeader) -> Recognised | None:
    keys = header.shapes
    if any(key.startswith(("ip_adapter.", "image_proj.")) for key in keys):
        width = next((s[1] for k, s in keys.items() if k.endswith("to_k_ip.weight")), 0)
        return Recognised(kind=FileKind.IP_ADAPTER, family=text_width_family(width))
    if any(key.startswith(("control_model.", "zero_convs.", "input_hint_block.")) for key in keys) \
            or "lora_controlnet" in keys:  # fmt: skip
        return Recognised(kind=FileKind.CONTROLNET, family=_unet_family(header))
    if header.has("controlnet_cond_embedding.conv_in.weight"):
        form = "union" if header.has("task_embedding") else ""
        return Recognised(kind=FileKind.CONTROLNET, family=_unet_family(header), form=form)
    if any(re.match(r"(adapter\.)?body\.0\.(resnets\.0\.)?block1\.weight", key) for key in keys):
        return Recognised(kind=FileKind.T2I_ADAPTER)
    if any(_LORA.search(key) for key in keys):
        return Recognised(kind=FileKind.LORA, family=_lora_family(header))
    return None


_LORA = re.compile(
    r"\.(lora_up|lora_down|lora_A|lora_B|hada_w1_a|lokr_w1|lokr_w1_a|lora\.up|lora\.down"
    r"|lora_linear_layer\.up|lora_linear_layer\.down|oft_blocks|oft_diag|diff|w_norm)(\.|$)"
)


def _lora_family(header: WeightsHeader) -> str:
    """By the width of the text that cross attention reads, which a factor's input side shows."""
    has_second = False
    for key, shape in header.shapes.items():
        has_second = has_second or key.startswith(("lora_te2_", "text_encoder_2."))
        if "attn2" not in key or "to_k" not in key.replace("to.k", "to_k"):
            continue
        if key.endswith((".lora_down.weight", ".lora_A.weight", ".lora.down.weight")):
            return text_width_family(shape[1])
        if key.endswith(".hada_w1_b"):
            return text_width_family(shape[1])
    if has_second or any("_4_1_transformer_blocks_1_" in key for key in header.shapes):
        return "sdxl"
    base = header.metadata.get("ss_base_model_version", "") + header.metadata.get(
        "modelspec.architecture", ""
    )
    for word, family in (("sdxl", "sdxl"), ("xl", "sdxl"), ("sd_v2", "sd2"), ("v2", "sd2"),
                         ("sd_v1", "sd1"), ("v1", "sd1")):  # fmt: skip
        if word in base:
            return family
    # The text encoder's own width, where only that was trained; SD1's is SDXL's first, too.
    if any(key.startswith("lora_te_") for key in header.shapes):
        widths = {s[1] for k, s in header.shapes.items()
                  if "self_attn_q_proj" in k and k.endswith("lora_down.weight")}  # fmt: skip
        return {frozenset({768}): "sd1", frozenset({1024}): "sd2"}.get(frozenset(widths), "")
    return ""


def _part(header: WeightsHeader) -> Recognised | None:
    keys = header.shapes
    for prefix in ("", VAE):
        if header.has(prefix + "decoder.conv_in.weight") and (
            prefix + "decoder.up.0.block.0.conv1.weight" in keys
            or prefix + "decoder.up_blocks.0.resnets.0.conv1.weight" in keys
        ):
            latent = keys[prefix + "decoder.conv_in.weight"][1]
            return Recognised(kind=FileKind.VAE, family="" if latent == 4 else f"{latent}-channel")
    taesd = ("decoder.layers.0.weight", "taesd_decoder.1.weight", "decoder.1.weight", "1.weight")
    if any(key in keys and len(keys[key]) == 4 for key in taesd) and len(keys) < 200:
        return Recognised(kind=FileKind.TAESD)
    if "vision_model.embeddings.patch_embedding.weight" in keys:
        return Recognised(kind=FileKind.IMAGE_ENCODER)
    if header.has("model.embed_tokens.weight", "model.layers.0.self_attn.q_norm.weight"):
        return Recognised(kind=FileKind.TEXT_ENCODER, family="qwen3")
    if header.has("encoder.block.0.layer.0.SelfAttention.q.weight"):
        return Recognised(kind=FileKind.TEXT_ENCODER, family="t5")
    words = "text_model.embeddings.token_embedding.weight"
    if words in keys:
        clip = {768: "clip_l", 1280: "clip_g"}.get(keys[words][-1], "")
        return Recognised(kind=FileKind.TEXT_ENCODER, family=clip)
    if any(key.endswith("embeddings.token_embedding.weight") for key in keys):
        return Recognised(kind=FileKind.TEXT_ENCODER)
    if any(key in keys for key in _UPSCALERS):
        return Recognised(kind=FileKind.UPSCALER)
    widths = {match[1] for key in keys
              if (match := re.fullmatch(r"(\d+)\.[01]\.linear(?:\.0|1)\.weight", key))}  # fmt: skip
    if widths & {"320", "640", "768", "1024", "1280"}:
        family = next((name for width, name in (("768", "sd1"), ("1024", "sd2"))
                       if width in widths), "")  # fmt: skip
        return Recognised(kind=FileKind.HYPERNETWORK, family=family)
    return None


def _embedding(header: WeightsHeader) -> Recognised | None:
    keys = header.shapes
    if set(keys) >= {"clip_l", "clip_g"}:
        return Recognised(kind=FileKind.EMBEDDING, family="sdxl")
    rows = [shape for shape in keys.values() if len(shape) in (1, 2)]
    if len(keys) == 1 and len(rows) == 1:
        family = {768: "sd1", 1024: "sd2"}.get(rows[0][-1], "")
        return Recognised(kind=FileKind.EMBEDDING, family=family) if family else None
    return None
