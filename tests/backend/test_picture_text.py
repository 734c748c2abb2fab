"""The text of a PNG: what was used is named, and found again by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from nijimi_backend.engine.request import Picture
from nijimi_backend.models.headers import weights_sha256
from nijimi_backend.models.library import Library
from nijimi_backend.picture_text import picture_text
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderParams
from safetensors.torch import save_file

from tests.support.tiny_model import write_tiny_model


def test_loras_are_named_with_the_hash_of_their_weights(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    weights = {
        "lora_unet_x.lora_up.weight": torch.ones(4, 2),
        "lora_unet_x.lora_down.weight": torch.ones(2, 4),
    }
    save_file(weights, tmp_path / "ink.safetensors", metadata={"ss_output_name": "one"})
    library = Library([tmp_path])
    made = Picture(
        pixels=np.zeros((8, 8, 4), np.uint8), area=Bounds(0, 0, 8, 8), seed=3,
        num_inference_steps=1, model_ms=1.0, sampler="lcm",
    )  # fmt: skip
    params = RenderParams(prompt="sea <lora:ink:0.5> <lora:gone:1>", seed=3)
    text = picture_text(params, made, library.find_model("tiny"), library, Extent(8, 8))
    # The numbers alone: 16 ones, as little-endian float32, lie at the end of the file.
    expected = hashlib.sha256(torch.ones(16).numpy().tobytes()).hexdigest()[:12]
    assert f'Lora hashes: "ink: {expected}", Version' in text
    assert "gone:" not in text.split("Lora hashes")[1]
    # A folder's hash would be of no use to anyone.
    assert "Model hash" not in text


def test_another_title_is_no_other_hash(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file({"a": torch.ones(3)}, tmp_path / name, metadata={"title": name * 9})
    assert weights_sha256(tmp_path / "one") == weights_sha256(tmp_path / "two")
