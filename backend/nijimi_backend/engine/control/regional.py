"""Layers with words of their own enter; how much each one's words count, and where, leaves.

Every cross attention is asked once for each text, and its answers are mixed by where the texts
count: out(x) = sum over r of w_r(x) attention(x, text r). It is the weighted mean of MultiDiffusion
(Bar-Tal et al., arXiv 2302.08113, equation 5), taken inside the network and not of its outputs: one
call a step, and the parts of a picture still see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.params import RenderParams
from torch.nn import functional

from ...errors import BadInput, NijimiError
from ...models.bundle import ModelBundle
from ..cache import StageCache
from ..request import REGION, Control
from ..stages import resize_mask
from .hints import cropped

__all__ = ["RegionRack", "Regional", "region_params", "regions_of"]


def regions_of(controls: Sequence[Control]) -> tuple[Control, ...]:
    """Those that count in a picture, the upper ones first."""
    return tuple(
        each
        for each in controls
        if each.kind == REGION and not each.is_idle and each.pixels is not None
    )


def region_params(params: RenderParams, region: Control) -> RenderParams:
    """With the region's words before those of the whole picture, in both prompts."""

    def joined(text: str) -> str:
        # On a line of its own: a comment ends there.
        return ",\n".join(each for each in (region.prompt.strip(), text.strip()) if each)

    return replace(params, prompt=joined(params.prompt), second_prompt=joined(params.second_prompt))


@dataclass(frozen=True, kw_only=True)
class Regional:
    """The regions of one picture; ``masks`` of R regions: R x 1 x h x w from 0 to 1, in cells of
    the latents. ``rack``: what makes the UNet listen to them."""

    controls: tuple[Control, ...] = ()
    masks: torch.Tensor | None = None
    rack: RegionRack | None = None

    @property
    def count(self) -> int:
        return len(self.controls)

    def weights(self, part: float) -> torch.Tensor:
        """How much each text counts in a step that begins at ``part`` of all: R + 1 x 1 x h x w of
        sum 1, the whole picture's text first. An upper region hides what lies below it."""
        assert self.masks is not None
        left = torch.ones_like(self.masks[0])
        seen: list[torch.Tensor] = []
        for control, mask in zip(self.controls, self.masks, strict=True):
            share = mask * min(1.0, control.scale) if control.counts(part) else mask * 0.0
            seen.append(left * share)
            left = left - seen[-1]
        return torch.stack([left, *seen])

    def seen(self, region_id: str, part: float) -> torch.Tensor | None:
        """Where that region counts, 1 x 1 x h x w; None where there is none of that id."""
        for n, control in enumerate(self.controls):
            if control.id == region_id:
                return self.weights(part)[n + 1 : n + 2]
        return None

    def inputs(self, texts: Sequence[torch.Tensor], part: float) -> tuple[torch.Tensor, ...]:
        """For ``RegionRack.use``: a text N x T x width for each region, and for each resolution
        within the network the weights R + 1 x positions."""
        if self.rack is None:
            return ()
        assert len(texts) == self.count, "each region has words"
        weights = self.weights(part)
        height, width = weights.shape[-2:]
        made: list[torch.Tensor] = []
        for _ in range(self.rack.levels):
            small = functional.adaptive_avg_pool2d(weights, (height, width))
            made.append(small.flatten(1).to(texts[0].dtype))  # R + 1 x (height width)
            # As the network's own convolutions of stride 2 do.
            height, width = (height + 1) // 2, (width + 1) // 2
        return (*texts, *made)


class RegionRack:
    """Listens at the cross attentions of one model's UNet. Not thread-safe."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._hooks: list[Any] = []
        self._texts: tuple[torch.Tensor, ...] = ()
        self._weights: dict[int, torch.Tensor] = {}
        self._masks: StageCache[torch.Tensor] = StageCache(16)

    @property
    def levels(self) -> int:
        """How many resolutions the UNet has."""
        return len(self._bundle.unet.config["block_out_channels"])

    def prepare(
        self, controls: Sequence[Control], canvas: Extent, crop: Bounds, extent: Extent
    ) -> tuple[Regional, tuple[NijimiError, ...]]:
        """The regions of a picture of ``extent`` that shows ``crop`` of the canvas; and those that
        cannot be."""
        failed = tuple(
            BadInput("A region has no layer.", "Choose its layer, or switch it off.")
            for each in controls
            if each.kind == REGION and not each.is_idle and each.pixels is None
        )
        regions = regions_of(controls)
        if not regions:
            return Regional(), failed
        self._listen()
        scale = self._bundle.latent_scale
        cells = Extent(extent.width // scale, extent.height // scale)
        masks = [
            self._masks.get(
                (region.key, canvas, crop, cells),
                lambda region=region: self._mask(region, canvas, crop, cells),
            )
            for region in regions
        ]
        return Regional(controls=regions, masks=torch.stack(masks), rack=self), failed

    def use(self, inputs: Sequence[torch.Tensor], count: int) -> None:
        """What counts in the next calls of the UNet; nothing for none."""
        self._texts = tuple(inputs[:count])
        self._weights = {int(each.shape[1]): each for each in inputs[count:]}

    def _mask(self, region: Control, canvas: Extent, crop: Bounds, cells: Extent) -> torch.Tensor:
        covered = torch.from_numpy(_coverage(region, canvas, crop, cells))
        return covered[None].to(self._bundle.device.torch_device)  # 1 x h x w

    def _listen(self) -> None:
        """Once for all: without regions what was answered is handed on."""
        if self._hooks:
            return
        for name, module in self._bundle.unet.named_modules():
            if name.endswith(".attn2"):
                self._hooks.append(module.register_forward_hook(self._mixed, with_kwargs=True))

    def _mixed(
        self, module: Any, inputs: tuple[Any, ...], options: dict[str, Any], answer: torch.Tensor
    ) -> torch.Tensor | None:
        """``answer`` is what the whole picture's text gives, N x positions x width."""
        if not self._texts:
            return None
        weights = self._weights[int(inputs[0].shape[1])][:, None, :, None]  # R + 1 x 1 x p x 1
        told = options["encoder_hidden_states"]
        mixed = answer * weights[0]
        for text, weight in zip(self._texts, weights[1:], strict=True):
            # References stand beside the text, and are the same for all of them.
            heard = (text, *told[1:]) if isinstance(told, tuple) else text
            own = module.forward(*inputs, **{**options, "encoder_hidden_states": heard})
            mixed = mixed + own * weight
        return mixed


def _coverage(
    region: Control, canvas: Extent, crop: Bounds, cells: Extent
) -> npt.NDArray[np.float32]:
    """What the layer covers of ``crop``, from 0 to 1, h x w of ``cells``, float32."""
    assert region.pixels is not None
    covered = region.pixels if region.pixels.ndim == 2 else region.pixels[..., 3]
    small = resize_mask(cropped(np.ascontiguousarray(covered), canvas, crop), cells)
    return small.astype(np.float32) / np.float32(255.0)
