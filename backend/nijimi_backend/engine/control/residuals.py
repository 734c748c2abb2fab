"""A frame's control layers enter; what they add inside the UNet at each step leaves.

What depends on the hint alone is computed once per hint: a ControlNet's first convolutions, and
all of a T2I-Adapter (Mou et al., arXiv 2302.08453). The rest of a ControlNet (Zhang et al., arXiv
2302.05543) runs at every step, and several are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import ControlNetUnionModel, T2IAdapter
from nijimi_protocol.geometry import Bounds, Extent

from ...errors import ModelMissing, NijimiError
from ...models.bundle import ModelBundle
from ...models.controls import (
    ControlInfo,
    ControlNetwork,
    controls_state,
    find_control,
    load_control,
)
from ...models.library import Library
from ...models.reference_files import REFERENCE_KINDS
from ..cache import StageCache
from ..frozen import Pack, frozen
from ..request import REGION, Control
from .annotators import Annotators
from .encoders import ControlEncoder, FunctionOf, UnionEncoder
from .hints import make_hint
from .reference import ReferenceRoom, References
from .regional import Regional, RegionRack

__all__ = ["ControlRoom", "Extras", "Steering"]

_MOST_NETWORKS = 4
"""So many stay loaded; the one unused the longest goes first."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is added to the UNet's skip connections, to its middle, and within its encoder."""

    down: tuple[torch.Tensor, ...] = ()
    middle: torch.Tensor | None = None
    within: tuple[torch.Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        middle = () if self.middle is None else (self.middle,)
        return (*self.down, *middle, *self.within)


@dataclass(frozen=True, kw_only=True)
class _Active:
    """One control of this frame: its network, what its hint gave, what the network is told."""

    control: Control

    network: ControlEncoder | T2IAdapter
    made: tuple[torch.Tensor, ...]
    told: tuple[torch.Tensor, ...]


class Steering:
    """The controls of one frame, ready to be asked at each step."""

    def __init__(
        self, active: Sequence[_Active], references: References | None = None,
        regional: Regional | None = None, *, function: FunctionOf = ControlEncoder.packed,
    ) -> None:  # fmt: skip
        """``function``: by what networks run; their packed form, where they have one."""
        self.active = tuple(active)
        self._function = function
        self.references = references or References()
        self.regional = regional or Regional()

    @property
    def is_plain(self) -> bool:
        """Whether the UNet itself listens to nothing."""
        return not self.references.tokens and self.regional.rack is None

    @property
    def hints(self) -> tuple[torch.Tensor, ...]:
        """All that was made of hints."""
        return tuple(tensor for each in self.active for tensor in each.made)

    @property
    def forms(self) -> tuple[Hashable, ...]:
        """What else there is to know of the controls."""
        return tuple(
            (id(a.network), a.control.kind, a.control.scale, a.control.start, a.control.end)
            for a in self.active
        )

    @property
    def is_quicker(self) -> bool:
        """Whether anything was made in a network's place."""
        networks = [each.network for each in self.active]
        return any(isinstance(each, ControlEncoder) and each.is_quicker for each in networks)

    def with_hints(self, hints: Sequence[torch.Tensor], *, quicker: bool) -> Steering:
        """The same, for a plain one, by what was made of others; networks run by what was made in
        their place (``quicker``), or as they are."""
        rest = iter(hints)
        active = [replace(a, made=tuple(next(rest) for _ in a.made)) for a in self.active]
        function = ControlEncoder.quicker if quicker else ControlEncoder.itself
        return Steering(active, function=function)

    @property
    def joins_late(self) -> bool:
        """Whether all that is added is needed only once the UNet's encoder has run."""
        return bool(self.active) and all(isinstance(a.network, ControlEncoder) for a in self.active)

    def extras(
        self, latents: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor, part: float,
        added: tuple[torch.Tensor, ...] = (),
    ) -> Extras | None:  # fmt: skip
        """For UNet inputs N x C x h x w at a step that begins at ``part`` of all; None for nothing.
        ``added``: SDXL's pooled text and sizes.

        A step counts by where it begins. (diffusers asks that it also ends within the range,
        which leaves a picture of one step without any control whose range is not whole.)
        """
        skips: list[torch.Tensor] = []
        within: list[torch.Tensor] = []
        for each in self.active:
            if not each.control.counts(part):
                continue
            within_region = self.regional.seen(each.control.region, part)
            if within_region is None and each.control.region:
                # It goes with its region.
                continue
            scale = each.control.scale
            if isinstance(each.network, ControlEncoder):
                hint = each.made[0].expand(latents.shape[0], -1, -1, -1).contiguous()
                inputs = (latents, timestep, embeds, hint, *each.told, *added)
                network = each.network
                key = (latents.shape, timestep.dtype, embeds.shape)
                run = self._function(network, key, inputs)
                _add(skips, [_only(more * scale, within_region) for more in run(*inputs)])
            else:
                _add(within, [_only(more * scale, within_region) for more in each.made])
        if not skips and not within:
            return None
        middle = skips.pop() if skips else None
        return Extras(down=tuple(skips), middle=middle, within=tuple(within))


def _only(residual: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
    """What is added, N x C x h x w, in a region (1 x 1 x H x W from 0 to 1) alone."""
    if where is None:
        return residual
    small = torch.nn.functional.adaptive_avg_pool2d(where, (residual.shape[-2], residual.shape[-1]))
    return residual * small.to(residual.dtype)


def _add(total: list[torch.Tensor], more: list[torch.Tensor]) -> None:
    if not total:
        total.extend(more)
        return
    for n, each in enumerate(more):
        total[n] = total[n] + each


class ControlRoom:
    """The control networks of one model: found, loaded when first needed, and kept."""

    def __init__(
        self, bundle: ModelBundle, library: Library | None = None, pack: Pack = frozen, *,
        joins: bool | None = None,
    ) -> None:  # fmt: skip
        """``joins``: whether ControlNets' layers that read the same are one product; None for where
        it pays, which is on a graphics card."""
        self._joins = bundle.device.is_cuda if joins is None else joins
        self._bundle = bundle
        self._library = library
        self._pack = pack
        self._networks: StageCache[ControlEncoder | T2IAdapter] = StageCache(_MOST_NETWORKS)
        self._found: StageCache[ControlInfo | NijimiError] = StageCache(16)
        self._references = ReferenceRoom(bundle, library)
        self._regions = RegionRack(bundle)
        self._annotators = Annotators(library)
        self.hints: StageCache[tuple[torch.Tensor, ...]] = StageCache(16)

    def prepare(
        self, controls: Sequence[Control], canvas: Extent, crop: Bounds, extent: Extent
    ) -> tuple[Steering, tuple[NijimiError, ...]]:
        """The controls for one picture, and why some of them cannot be: the rest goes on."""
        active: list[_Active] = []
        wanted = [control for control in controls if not control.is_idle]
        if wanted and self._bundle.is_flow:
            return Steering(()), (self._no_controls(),)
        references, missing = self._references.prepare(
            [control for control in wanted if control.kind in REFERENCE_KINDS]
        )
        regional, lacking = self._regions.prepare(wanted, canvas, crop, extent)
        failed = [*missing, *lacking]
        for control in wanted:
            if control.kind in (*REFERENCE_KINDS, REGION):
                continue

            def make(control: Control = control) -> npt.NDArray[Any]:
                hint = make_hint(control, canvas, crop, extent, self._annotators)
                return hint.astype(np.float32) / 255.0

            try:
                active.append(self._active(control, (control.key, canvas, crop, extent), make))
            except NijimiError as error:
                failed.append(error)
        return Steering(active, references, regional), tuple(failed)

    def clear_references(self) -> None:
        """Take every reference off the UNet, for pictures that are made without controls."""
        self._references.prepare(())

    def add_inpaint(
        self, steering: Steering, key: Hashable, rgb: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8],
    ) -> Steering:  # fmt: skip
        """With the model's inpaint control, if it has one: what is to be repainted is -1 there,
        as it was trained (ControlNet 1.1, inpaint)."""

        def make() -> npt.NDArray[Any]:
            hint = rgb.astype(np.float32) / 255.0
            hint[mask > 127] = -1.0
            return hint

        control = Control(kind="inpaint")
        try:
            active = self._active(control, (control.key, key), make)
        except NijimiError:
            return steering
        return Steering([*steering.active, active], steering.references, steering.regional)

    def _active(
        self, control: Control, key: Hashable, make: Callable[[], npt.NDArray[Any]]
    ) -> _Active:
        info = self._find(control.kind)
        network = self._network(info)

        def embed() -> tuple[torch.Tensor, ...]:
            return self._embedded(network, make())

        return _Active(
            control=control,
            network=network,
            made=self.hints.get((info.path, key), embed),
            told=network.told(control.kind) if isinstance(network, ControlEncoder) else (),
        )

    def _network(self, info: ControlInfo) -> ControlEncoder | T2IAdapter:
        bundle = self._bundle

        def load() -> ControlEncoder | T2IAdapter:
            network: ControlNetwork = load_control(info, bundle.unet, bundle.device)
            if isinstance(network, T2IAdapter):
                return network
            wrap = UnionEncoder if isinstance(network, ControlNetUnionModel) else ControlEncoder
            return wrap(network, self._pack, joins=self._joins).eval()

        return self._networks.get(info.path, load)

    def _no_controls(self) -> ModelMissing:
        return ModelMissing(
            f"The model {self._bundle.info.title} knows no control layers.",
            "Switch them off, or choose a model of SD 1.x, SD 2.x or SDXL.",
        )

    def _find(self, kind: str) -> ControlInfo:
        """What was found stays known until a file comes or goes."""
        info = self._bundle.info
        if self._bundle.is_flow:
            raise self._no_controls()

        def search() -> ControlInfo | NijimiError:
            try:
                return find_control(kind, info, self._bundle.unet, self._library)
            except NijimiError as error:
                return error

        found = self._found.get((kind, controls_state(info, self._library)), search)
        if isinstance(found, NijimiError):
            raise found
        return found

    def _embedded(
        self, network: ControlEncoder | T2IAdapter, hint: npt.NDArray[Any]
    ) -> tuple[torch.Tensor, ...]:
        """What depends on the hint (h x w x 3, 0 to 1) alone."""
        device = self._bundle.device
        pixels = torch.from_numpy(hint).permute(2, 0, 1)[None]  # 1 x 3 x h x w
        pixels = pixels.to(device.torch_device, device.dtype)
        if isinstance(network, T2IAdapter):
            if int(network.config["in_channels"]) == 1:
                pixels = pixels[:, :1]
            return tuple(network(pixels))
        if network.is_bgr:
            pixels = pixels.flip(1)
        return (network.embed_hint(pixels),)
