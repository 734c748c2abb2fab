"""A ControlNet and inputs of one size enter; a function of plain tensors for them leaves."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from ...models.controls import UNION_KINDS
from ..cache import StageCache
from ..frozen import Pack, frozen
from ..joined import JoinedLayers
from ..recorded import any_quicker, quicker_work

__all__ = ["ControlEncoder", "FunctionOf", "UnionEncoder"]

Function = Callable[..., Any]
Inputs = tuple[torch.Tensor, ...]

FunctionOf = Callable[["ControlEncoder", Hashable, Inputs], Function]
"""A ControlNet, its function's key and inputs in; by what it runs, out."""


class ControlEncoder(torch.nn.Module):
    """A ControlNet whose hint is embedded already; all residuals out, the middle one last.

    ``joins``: its layers that read the same are one product.
    """

    def __init__(self, network: Any, pack: Pack = frozen, *, joins: bool = False) -> None:
        super().__init__()
        self.pack = pack
        self._joined = JoinedLayers(network) if joins else None
        self.embed_hint = network.controlnet_cond_embedding
        self.is_bgr = network.config["controlnet_conditioning_channel_order"] == "bgr"
        # Colours are swapped before the embedding; swapping the embedding would be wrong.
        network.register_to_config(controlnet_conditioning_channel_order="rgb")
        network.controlnet_cond_embedding = torch.nn.Identity()
        self.network = network
        self.functions: StageCache[Function] = StageCache(3)

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor,
        hint: torch.Tensor, *added: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        self._forget()
        down, middle = self.network(
            latents, timestep, encoder_hidden_states=embeds, controlnet_cond=hint,
            added_cond_kwargs={"text_embeds": added[0], "time_ids": added[1]} if added else None,
            return_dict=False,
        )  # fmt: skip
        return (*down, middle)

    def packed(self, key: Hashable, inputs: Inputs) -> Function:
        """What serves inputs like these, by their key."""
        return self.functions.get(key, lambda: self.pack(self, inputs))

    def itself(self, key: Hashable, inputs: Inputs) -> Function:
        return self

    def quicker(self, key: Hashable, inputs: Inputs) -> Function:
        """What was made in its place and may be a part of more, or itself."""
        return quicker_work(self.functions.peek(key)) or self

    @property
    def is_quicker(self) -> bool:
        """Whether anything was made in its place."""
        return any_quicker(self.functions)

    def _forget(self) -> None:
        """What layers shared in the call before."""
        if self._joined is not None:
            self._joined.forget()

    def told(self, kind: str) -> tuple[torch.Tensor, ...]:
        """What the network must be told beside the hint's embedding."""
        return ()


class UnionEncoder(ControlEncoder):
    """One network for many kinds (ControlNet++ for SDXL): it is told which task the hint is for.

    Each control is a pass of its own, and passes are summed, as for other networks.
    """

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor,
        hint: torch.Tensor, *told: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        self._forget()
        task, *added = told
        tasks: Any = self.network.task_embedding.shape[0]
        chosen = torch.nn.functional.one_hot(task, tasks).expand(latents.shape[0], -1)
        down, middle = self.network(
            latents, timestep, encoder_hidden_states=embeds, controlnet_cond=[hint],
            control_type=chosen.to(latents.dtype), control_type_idx=[task],
            conditioning_scale=[1.0],
            added_cond_kwargs={"text_embeds": added[0], "time_ids": added[1]} if added else None,
            return_dict=False,
        )  # fmt: skip
        return (*down, middle)

    def told(self, kind: str) -> tuple[torch.Tensor, ...]:
        """The task's number, 0-dimensional."""
        task = next(n for n, kinds in enumerate(UNION_KINDS) if kind in kinds)
        return (torch.tensor(task, device=self.network.task_embedding.device),)
