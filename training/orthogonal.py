"""Parameters of a network enter; an optimizer that turns matrices at an even rate leaves.

Muon (Jordan et al., 2024; Liu et al., arXiv 2502.16982, section 2) for whatever multiplies
features, AdamW for the rest: embeddings, biases, norms. A convolution counts as one matrix of
output channels by all that each of them sees. Steps are as large as AdamW's would be (Liu et al.,
equation 4), so that both take one rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["MuonWithAdamW"]

TABLES = ("embeddings.token_embedding", "embeddings.position_embedding")


def as_matrix(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Out x (all else), in the order in which ``like`` lies, so that ``like`` itself is not copied:
    of a convolution in channels last place by place."""
    if like.dim() == 4 and not like.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)  # out x (in h w), or out x (h w in)


class MuonWithAdamW:
    """Two optimizers of torch's as one.

    ``named``: weights by name. Tables (of tokens, of positions) are not matrices in Muon's sense:
    each row is a thing of its own.
    """

    def __init__(self, named: Iterable[tuple[str, torch.Tensor]], rate: float) -> None:
        self._turned: list[tuple[torch.Tensor, torch.nn.Parameter]] = []
        rest: list[torch.Tensor] = []
        for name, weight in named:
            if weight.dim() in (2, 4) and not name.startswith(TABLES):
                matrix = as_matrix(weight.data, weight)
                assert matrix.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
                self._turned.append((weight, torch.nn.Parameter(matrix)))
            else:
                rest.append(weight)
        matrices = [matrix for _, matrix in self._turned]
        self._muon = torch.optim.Muon(
            matrices, lr=rate, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"
        )
        self._adam = torch.optim.AdamW(
            rest, lr=rate, weight_decay=1e-2, betas=(0.9, 0.98), fused=True
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self._muon.param_groups, *self._adam.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weight, matrix in self._turned:
            weight.grad = matrix.grad = None
        self._adam.zero_grad(set_to_none)

    def step(self) -> None:
        for weight, matrix in self._turned:
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad, weight)
        self._muon.step()
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])
