"""Prompts and noised latents enter; what Z-Image reads and says leaves.

Z-Image (its model card, 2025): a single-stream transformer that reads the last layer but one of
Qwen3, to which the prompt is given as a user's message. Weights of words mean nothing to a
language model, so that a prompt is read without them, as in ComfyUI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...errors import ModelCorrupt
from ...models.bundle import ModelBundle
from ..prompt.encode import Conditioning, Vectors
from ..prompt.syntax import BREAK

__all__ = ["ZImage"]

_MOST_TOKENS = 512


class ZImage:
    """Z-Image and Z-Image-Turbo; see ``family.FlowFamily``."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        if not bundle.towers[0].tokenizer.chat_template:
            raise ModelCorrupt(
                f"The tokenizer of {bundle.info.title} does not say how a message is put.",
                "Copy the folder tokenizer of Z-Image again, whole.",
            )

    def chunks(self, texts: Sequence[tuple[str, float]], vectors: Vectors) -> int:
        return 1

    def encode(
        self, texts: Sequence[tuple[str, float]], vectors: Vectors, clip_skip: int, chunks: int
    ) -> Conditioning:
        tower = self._bundle.towers[0]
        prompt = "".join("\n" if text == BREAK else text for text, _ in texts)
        said = tower.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False, add_generation_prompt=True, enable_thinking=True,
        )  # fmt: skip
        tokens = tower.tokenizer(said, max_length=_MOST_TOKENS, truncation=True).input_ids
        rows = torch.tensor([tokens], device=self._bundle.device.torch_device)
        with self._bundle.placement.at_work(tower.encoder):
            hidden = tower.encoder(rows, output_hidden_states=True).hidden_states[-2]
        return Conditioning(embeds=hidden, lengths=(len(tokens),))

    def sigmas(self, steps: int) -> list[float] | None:
        return torch.linspace(1.0, 1.0 / steps, steps).tolist()

    def velocity(self, latents: torch.Tensor, time: float, told: Conditioning) -> torch.Tensor:
        network: Any = self._bundle.unet
        count = latents.shape[0]
        # A picture is one frame of a film to it, and each row of a batch stands for itself.
        rows = list(latents[:, :, None].unbind(0))  # N of C x 1 x h x w
        texts = [row[:n] for row, n in zip(told.embeds, told.lengths, strict=True)]
        # Its time runs from noise to picture, and so does its velocity.
        passed = (1000.0 - torch.full((count,), time, device=latents.device)) / 1000.0
        made = network(rows, passed, texts, return_dict=False)[0]
        return -torch.stack(list(made)).squeeze(2)
