"""Prompts and noised latents enter; what Stable Diffusion 3 reads and says leaves.

Esser et al., arXiv 2403.03206: two CLIP encoders side by side, filled up to T5's width, and T5's
tokens after them. Where T5 is not there its tokens are zeros, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...models.bundle import ModelBundle, TextTower
from ..prompt.encode import Conditioning, Vectors, cut_into_chunks, encode_texts, weigh
from ..prompt.syntax import BREAK

__all__ = ["SD3"]

_T5_TOKENS = 256
_MOST_T5_TOKENS = 512
"""Longer texts than 256 tokens are read up to here, as the published pipeline can be told to."""


class SD3:
    """SD3 and SD3.5; see ``family.FlowFamily``."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._clips = tuple(tower for tower in bundle.towers if tower.name != "te3")
        self._t5 = next((tower for tower in bundle.towers if tower.name == "te3"), None)

    def chunks(self, texts: Sequence[tuple[str, float]], vectors: Vectors) -> int:
        own = {name: each[0] for name, each in vectors.items()}
        return len(cut_into_chunks(self._clips[0], texts, own))

    def encode(
        self, texts: Sequence[tuple[str, float]], vectors: Vectors, clip_skip: int, chunks: int
    ) -> Conditioning:
        clips = encode_texts(self._bundle, texts, vectors, clip_skip, chunks, self._clips)
        width = int(self._bundle.unet.config["joint_attention_dim"])
        filled = torch.nn.functional.pad(clips.embeds, (0, width - clips.embeds.shape[-1]))
        t5 = filled.new_zeros(1, _T5_TOKENS, width)
        if self._t5 is not None:
            t5 = self._read_t5(self._t5, texts).to(filled)
        return Conditioning(embeds=torch.cat([filled, t5], dim=1), pooled=clips.pooled)

    def _read_t5(self, tower: TextTower, texts: Sequence[tuple[str, float]]) -> torch.Tensor:
        """1 x 256 (or more) x width; weights multiply as they do for CLIP."""
        tokens: list[int] = []
        weights: list[float] = []
        for text, weight in _joined(texts):
            part = tower.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            tokens += part
            weights += [weight] * len(part)
        tokens, weights = tokens[: _MOST_T5_TOKENS - 1], weights[: _MOST_T5_TOKENS - 1]
        empty = max(0, _T5_TOKENS - 1 - len(tokens))
        row = [*tokens, int(tower.tokenizer.eos_token_id), *[tower.pad_token_id] * empty]
        device = self._bundle.device.torch_device
        with self._bundle.placement.at_work(tower.encoder):
            hidden = tower.encoder(torch.tensor([row], device=device))[0]
        factors = torch.tensor([[*weights, 1.0, *[1.0] * empty]], device=device)
        return weigh(hidden, factors)

    def sigmas(self, steps: int) -> list[float] | None:
        return None

    def velocity(self, latents: torch.Tensor, time: float, told: Conditioning) -> torch.Tensor:
        network: Any = self._bundle.unet
        assert told.pooled is not None
        return network(
            hidden_states=latents,
            timestep=torch.full((latents.shape[0],), time, device=latents.device),
            encoder_hidden_states=told.embeds,
            pooled_projections=told.pooled,
            return_dict=False,
        )[0]


def _joined(texts: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of one weight as one text: T5's words begin with their space."""
    joined: list[tuple[str, float]] = []
    for text, weight in texts:
        if text == BREAK:
            continue
        if joined and joined[-1][1] == weight:
            joined[-1] = joined[-1][0] + text, weight
        else:
            joined.append((text, weight))
    return joined
