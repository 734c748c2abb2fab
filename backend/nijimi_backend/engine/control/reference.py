"""Layers that the picture is to take after enter; what the UNet attends to beside the text leaves.

IP-Adapter (Ye et al., arXiv 2308.06721): a second cross attention whose keys and values come from
the picture. What depends on the picture alone, encoder and projection, is computed once for each.
Style alone is asked of those blocks that were found to carry it (Wang et al., InstantStyle, arXiv
2404.02733, section 3.2).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessorPil

from ...errors import BadInput, ModelCorrupt, NijimiError
from ...models.bundle import ModelBundle
from ...models.device import is_out_of_memory
from ...models.headers import first_line
from ...models.library import Library
from ...models.reference_files import (
    REFERENCE_KINDS,
    AdapterFile,
    ImageEncoder,
    find_adapter,
    find_image_encoder,
    load_image_encoder,
    read_adapter,
)
from ..cache import StageCache
from ..request import Control, Pixels
from ..stages import lay_over_white

__all__ = ["ReferenceRoom", "References"]

_STYLE_BLOCKS = {2048: "up_blocks.0.attentions.1.", 0: "up_blocks.1."}
"""By the width of the text that the UNet reads: SDXL's as InstantStyle found it; for others the
second block upwards, as its authors' code takes for SD1."""


@dataclass(frozen=True, kw_only=True)
class References:
    """The references of one frame. ``tokens``: of each, 2 x 1 x T x width, those of no picture
    first; ``processors``: the attentions that read them; ``key`` tells apart what the UNet was set
    up for, each time anew: its attentions are others then."""

    key: Hashable = ()
    controls: tuple[Control, ...] = ()
    tokens: tuple[torch.Tensor, ...] = ()
    processors: tuple[Any, ...] = ()

    def inputs(self, batch: int, part: float) -> tuple[torch.Tensor, ...]:
        """Tokens, then scales (0-dimensional), for a step that begins at ``part`` of all."""
        if not self.tokens:
            return ()
        like = self.tokens[0]
        tokens = tuple(each[2 - batch :].contiguous() for each in self.tokens)
        scales = tuple(
            torch.tensor(control.scale if control.counts(part) else 0.0).to(like)
            for control in self.controls
        )
        return (*tokens, *scales)

    def use(self, scales: Sequence[torch.Tensor]) -> None:
        """Before a call of the UNet: how strong each is, in the blocks that it counts in."""
        for processor in self.processors:
            processor.scale = [
                scale if counts else 0.0
                for scale, counts in zip(scales, processor.counts, strict=True)
            ]


class _Passed(torch.nn.Module):
    """In the place of the projections, whose results are kept: hands on what it is given."""

    def forward(self, image_embeds: list[torch.Tensor]) -> list[torch.Tensor]:
        return image_embeds


class ReferenceRoom:
    """The IP-Adapters that are laid on one model's UNet. Not thread-safe."""

    def __init__(self, bundle: ModelBundle, library: Library | None = None) -> None:
        self._bundle = bundle
        self._library = library
        self._files: StageCache[AdapterFile | NijimiError] = StageCache(8)
        self._encoders: StageCache[ImageEncoder] = StageCache(1)
        self._tried: StageCache[Path | NijimiError] = StageCache(8)
        self._parts: StageCache[dict[str, dict[str, torch.Tensor]]] = StageCache(2)
        self._plain: dict[str, Any] = {}
        self._installed: tuple[tuple[AdapterFile, str], ...] = ()
        self._projections: list[Any] = []
        self._processors: tuple[Any, ...] = ()
        self._times_laid = 0
        self._pictures: StageCache[Pixels] = StageCache(8)
        self.tokens: StageCache[torch.Tensor] = StageCache(8)

    def prepare(self, controls: Sequence[Control]) -> tuple[References, tuple[NijimiError, ...]]:
        """Set the UNet up for these, and say why some cannot be: the rest goes on."""
        wanted: list[tuple[Control, AdapterFile, Path]] = []
        failed: list[NijimiError] = []
        for control in controls:
            try:
                self._shown(control)
                file = self._find(control.kind)
                wanted.append((control, file, self._fitting_encoder(file)))
            except NijimiError as error:
                failed.append(error)
        self._install(tuple((file, control.kind) for control, file, _ in wanted))
        tokens = tuple(
            self.tokens.get(
                (file, control.key), lambda n=n, c=control, e=encoder: self._project(n, c, e)
            )
            for n, (control, file, encoder) in enumerate(wanted)
        )
        references = References(
            key=(self._times_laid,) if wanted else (),
            controls=tuple(control for control, _, _ in wanted),
            tokens=tokens, processors=self._processors,
        )  # fmt: skip
        return references, tuple(failed)

    def _shown(self, control: Control) -> Pixels:
        """What is painted on its layer, RGB. Raises ``BadInput`` where there is nothing."""
        pixels = control.pixels
        if pixels is None:
            raise BadInput("The reference has no layer.", "Choose its layer, or switch it off.")
        return self._pictures.get(control.key, lambda: _content(pixels))

    def _find(self, kind: str) -> AdapterFile:
        def search() -> AdapterFile | NijimiError:
            info = self._bundle.info
            try:
                return find_adapter(kind, self._bundle.unet, info.title, self._library)
            except NijimiError as error:
                return error

        found = self._files.get((kind, self._version), search)
        if isinstance(found, NijimiError):
            raise found
        return found

    @property
    def _version(self) -> int:
        """Another number when a file came or went."""
        return self._library.version if self._library is not None else 0

    def _fitting_encoder(self, file: AdapterFile) -> Path:
        """The image encoder for a file that can be laid on this UNet. Raises what is wrong with
        either; it is found out once, not at every frame."""
        found = self._tried.get((file, self._version), lambda: self._try(file))
        if isinstance(found, NijimiError):
            raise found
        return found

    def _try(self, file: AdapterFile) -> Path | NijimiError:
        assert self._library is not None
        try:
            encoder = find_image_encoder(file, self._library)
            self._encoder(encoder)
            self._install(((file, REFERENCE_KINDS[0]),))
        except NijimiError as error:
            self._remove()
            return error
        except (RuntimeError, LookupError, ValueError) as error:
            self._remove()
            if is_out_of_memory(error):
                raise
            return ModelCorrupt(
                f"The IP-Adapter {file.name} does not match the model "
                f"{self._bundle.info.title} ({first_line(error)}).",
                "Copy or download it again, or switch this control off.",
            )
        return encoder

    def _encoder(self, path: Path) -> ImageEncoder:
        """One for all adapters that read from the same file."""
        return self._encoders.get(path, lambda: load_image_encoder(path, self._bundle.device))

    def _install(self, wanted: tuple[tuple[AdapterFile, str], ...]) -> None:
        """Lay these on the UNet, and no others."""
        if wanted == self._installed:
            return
        unet: Any = self._bundle.unet
        self._remove()
        if not wanted:
            return
        self._plain = dict(unet.attn_processors)
        dtype = self._bundle.device.dtype
        parts = [
            self._parts.get(file, lambda file=file: read_adapter(file, dtype)) for file, _ in wanted
        ]
        unet._load_ip_adapter_weights(parts, low_cpu_mem_usage=False)
        self._projections = list(unet.encoder_hid_proj.image_projection_layers)
        unet.encoder_hid_proj = _Passed()
        width = int(unet.config["cross_attention_dim"])
        style = _STYLE_BLOCKS.get(width, _STYLE_BLOCKS[0])
        for name, processor in unet.attn_processors.items():
            if hasattr(processor, "to_k_ip"):
                processor.requires_grad_(False)
                processor.counts = [kind != "style" or style in name for _, kind in wanted]
                self._processors = (*self._processors, processor)
        self._installed = wanted
        self._times_laid += 1

    def _remove(self) -> None:
        """Leave the UNet as it was loaded."""
        if not self._plain:
            return
        unet: Any = self._bundle.unet
        unet.encoder_hid_proj = None
        unet.register_to_config(encoder_hid_dim_type=None)
        unet.set_attn_processor(self._plain)
        self._plain, self._installed, self._projections, self._processors = {}, (), [], ()

    def _project(self, n: int, control: Control, path: Path) -> torch.Tensor:
        """2 x 1 x T x width: of no picture, and of this one."""
        encoder, device = self._encoder(path), self._bundle.device
        file, _ = self._installed[n]
        side = encoder.side_px
        processor: Any = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        pictures = processor(self._shown(control), return_tensors="pt").pixel_values
        pictures = pictures.to(device.torch_device, device.dtype)  # 1 x 3 x side x side
        if file.of_patches:
            both = torch.cat([torch.zeros_like(pictures), pictures])
            read = encoder.network(both, output_hidden_states=True).hidden_states[-2]
        else:
            embeds = encoder.network(pictures).image_embeds
            read = torch.cat([torch.zeros_like(embeds), embeds])
        return self._projections[n](read)[:, None]


def _content(layer: Pixels) -> Pixels:
    """What is painted on a layer (BGRA or grey), over white, as RGB: not the emptiness around."""
    if layer.ndim == 2:
        return np.repeat(layer[..., None], 3, axis=2)
    alpha = layer[..., 3]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        raise BadInput("The reference layer is empty.", "Paint on it, or choose another layer.")
    part = layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(lay_over_white(np.ascontiguousarray(part))[..., 2::-1])
