"""Latents and words enter; how much they look like a real picture of it leaves.

Few-step training is softened by its loss: of many pictures that fit, the mean is the safest. What
tells a finished picture from that mean is learnt here, beside the student (adversarial diffusion
distillation, Sauer et al., arXiv 2311.17042; in latents, arXiv 2403.12015). It begins from the
guide's layers, which know subjects already, and judges place by place at three sizes, with the
caption (projection, Miyato and Koyama, arXiv 1802.05637). A real picture under another one's words
is false to it as well (Reed et al., arXiv 1605.05396): so it reads them.

We depart from the papers in two points. All layers are trained: ours have seen few pictures. And
the student's wish to please it is as large as a part of what its own loss asks (``joined``),
whatever the two scales are: there is no weight to be found by trying.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .guide import Guide
from .networks import WORDS_WIDTH
from .workspace import mixed

__all__ = ["Critic", "Discriminator", "joined"]

MAX_NOISE = 0.4
"""Added to real and made latents alike: a fault too fine to be seen is no way to tell them."""
STEADY_NOISE, STEADY_WEIGHT = 0.05, 20.0
"""So little more noise must not change its mind (Lin et al., arXiv 2501.08316, equation 5)."""


class Discriminator(nn.Module):
    """Latents N x 4 x h x w and words N x W become scores N x K, one a place and size."""

    def __init__(self, guide: Guide) -> None:
        super().__init__()
        self.levels = nn.ModuleList([guide.fine, guide.middle, guide.coarse])
        widths = (64, 96, 128)
        self.alone = nn.ModuleList([nn.Conv2d(width, 1, 1) for width in widths])
        self.told = nn.ModuleList([nn.Linear(WORDS_WIDTH, width) for width in widths])

    def forward(self, latents: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        scores: list[torch.Tensor] = []
        for level, alone, told in zip(self.levels, self.alone, self.told, strict=True):
            latents = level(latents)
            asked = told(words)[..., None, None]  # N x C x 1 x 1
            agrees = (latents * asked).mean(1, keepdim=True)
            scores.append((alone(latents) + agrees).flatten(1))  # N x (h w)
        return torch.cat(scores, 1)


def noised(latents: torch.Tensor) -> torch.Tensor:
    """With up to ``MAX_NOISE`` of noise, drawn for each."""
    each = MAX_NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    return latents + each * torch.randn_like(latents)


class Critic:
    """The discriminator and its optimizer, which learn beside the student."""

    def __init__(self, guide: Guide, rate: float, device: torch.device) -> None:
        self._network = Discriminator(guide).to(device, memory_format=torch.channels_last)
        self._network.requires_grad_(True).train()
        self._optimizer = torch.optim.AdamW(self._network.parameters(), rate, betas=(0.0, 0.99))

    def wish(self, made: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """How far N x 4 x h x w made latents are from passing for real, to be lowered by them."""
        with mixed(made.device):
            return -self._network(noised(made), words).float().mean()

    def learn(self, real: torch.Tensor, made: torch.Tensor, words: torch.Tensor) -> float:
        """One step, from N real latents, N made ones and their words; its loss (hinge)."""
        near = noised(real)
        seen = torch.cat([near, noised(made), near, near + STEADY_NOISE * torch.randn_like(near)])
        with mixed(real.device):
            found = self._network(seen, torch.cat([words, words, words.roll(1, 0), words])).float()
        true, false, elsewhere, again = found.chunk(4)
        loss = functional.relu(1 - true).mean() + 0.5 * functional.relu(1 + false).mean()
        loss = loss + 0.5 * functional.relu(1 + elsewhere).mean()
        steady = STEADY_WEIGHT * (again - true).square().mean()
        self._optimizer.zero_grad(set_to_none=True)
        (loss + steady).backward()
        self._optimizer.step()
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self._network.load_state_dict(state_dict["network"])
        self._optimizer.load_state_dict(state_dict["optimizer"])


def joined(own: torch.Tensor, wish: torch.Tensor, guess: torch.Tensor, part: float) -> torch.Tensor:
    """The gradient at ``guess`` (N x 4 x h x w) of both losses, to go on backwards with.

    That of ``wish`` is made as long as ``part`` of that of ``own``, over the whole batch.
    """
    (by_own,) = torch.autograd.grad(own, guess, retain_graph=True)
    (by_wish,) = torch.autograd.grad(wish, guess)
    length = by_wish.norm().clamp(min=1e-12)
    return by_own + part * by_own.norm() / length * by_wish
