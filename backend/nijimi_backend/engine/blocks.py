"""A network enters; how its blocks compute between their products leaves, in fewer passes.

Between products torch reads and writes what a network holds once for each little operation. On
two cores with AMX, where products are quick, that is an eighth of a step of SD1.5 at 512 px. Here a
normalisation, what is added before and SiLU after it are one function, so are a gated layer's GELU
and product (Shazeer, arXiv 2002.05202), and nothing is laid out anew or divided by one. What is
rounded to bfloat16 several times there is rounded once.

The order of operations is diffusers' (0.42), module by module; a module that is another than those
known here computes as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from .native.kernels import Kernels
from .packed import Instead, computes_plainly

__all__ = ["quick_blocks"]


def quick_blocks(network: torch.nn.Module, kernels: Kernels | None) -> Iterator[Instead]:
    """None without ``kernels``."""
    if kernels is None:
        return
    for module in network.modules():
        if isinstance(module, GEGLU) and computes_plainly(module, GEGLU):
            yield Instead(module, "forward", _gate(module, kernels))
        elif isinstance(module, torch.nn.GroupNorm) and computes_plainly(
            module, torch.nn.GroupNorm
        ):
            yield Instead(module, "forward", _group_norm(module, kernels))
        elif isinstance(module, torch.nn.LayerNorm) and computes_plainly(
            module, torch.nn.LayerNorm
        ):
            yield Instead(module, "forward", _row_norm(module, kernels))
        elif isinstance(module, ResnetBlock2D) and _is_usual(module):
            yield Instead(module, "forward", _residual(module, kernels))
        elif isinstance(module, Transformer2DModel) and not module.use_linear_projection:
            yield Instead(module, "_get_output_for_continuous_inputs", _projected(module))


def _gate(layer: GEGLU, kernels: Kernels) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor, *_args: Any, **_options: Any) -> torch.Tensor:
        both = layer.proj(x)
        if kernels.takes_gate(both):
            return kernels.gated(both)
        first, gate = both.chunk(2, dim=-1)
        return first * layer.gelu(gate)

    return forward


def _group_norm(norm: torch.nn.GroupNorm, kernels: Kernels) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        if kernels.takes_picture(x, norm):
            return kernels.group_normed(x, norm, with_silu=False)
        return torch.nn.GroupNorm.forward(norm, x)

    return forward


def _row_norm(norm: torch.nn.LayerNorm, kernels: Kernels) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        if kernels.takes_rows(x, norm):
            return kernels.row_normed(x, norm)
        return torch.nn.LayerNorm.forward(norm, x)

    return forward


def _is_usual(block: ResnetBlock2D) -> bool:
    """As UNets of the Stable Diffusion family have them."""
    norms: list[Any] = [block.norm1, block.norm2]
    return (
        computes_plainly(block, ResnetBlock2D)
        and block.upsample is None
        and block.downsample is None
        and block.time_embedding_norm == "default"
        and block.output_scale_factor == 1.0
        and isinstance(block.nonlinearity, torch.nn.SiLU)
        and all(isinstance(norm, torch.nn.GroupNorm) for norm in norms)
        and not block.training
    )


def _residual(block: ResnetBlock2D, kernels: Kernels) -> Callable[..., torch.Tensor]:
    first: Any = block.norm1
    second: Any = block.norm2

    def forward(x: torch.Tensor, temb: Any, *_args: Any, **_options: Any) -> torch.Tensor:
        if not kernels.takes_picture(x, first):
            return ResnetBlock2D.forward(block, x, temb)
        made = block.conv1(kernels.group_normed(x, first, with_silu=True))
        add: torch.Tensor | None = None
        if temb is not None and block.time_emb_proj is not None:
            add = temb if block.skip_time_act else torch.nn.functional.silu(temb)
            add = block.time_emb_proj(add)
        if kernels.takes_picture(made, second):
            made = kernels.group_normed(made, second, with_silu=True, add=add)
        else:
            made = made if add is None else made + add[:, :, None, None]
            made = torch.nn.functional.silu(second(made))
        made = block.conv2(made)
        return made + (x if block.conv_shortcut is None else block.conv_shortcut(x))

    return forward


def _projected(block: Transformer2DModel) -> Callable[..., torch.Tensor]:
    def output(
        hidden_states: torch.Tensor, residual: torch.Tensor, batch_size: int, height: int,
        width: int, inner_dim: int,
    ) -> torch.Tensor:  # fmt: skip
        # B x HW x C -> B x C x H x W, as rows lie already
        picture = hidden_states.reshape(batch_size, height, width, inner_dim).permute(0, 3, 1, 2)
        return block.proj_out(picture) + residual

    return output
