"""A library, a model and a name enter; the autoencoder that pictures are finished with leaves.

Nothing in such a file says whether it is of SD's latents or SDXL's, which differ: as in the web
UIs, the choice is the painter's. What cannot fit at all is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any

from diffusers import AutoencoderKL
from safetensors import SafetensorError

from ..errors import ModelCorrupt, ModelMissing, NijimiError, OutOfMemory
from .bundle import ModelBundle
from .device import is_out_of_memory
from .enlarging import lay_out
from .headers import first_line, read_header
from .library import Library, own_folder
from .recognise import VAE, FileKind
from .single_file import read_vae_file

__all__ = ["VaeRoom"]

log = logging.getLogger(__name__)


class VaeRoom:
    """Keeps the one that was used last for one model, or why it could not be."""

    def __init__(self, bundle: ModelBundle, library: Library | None) -> None:
        self._bundle = bundle
        self._library = library
        self._known: tuple[Hashable, AutoencoderKL | NijimiError] | None = None

    def get(self, name: str) -> AutoencoderKL | NijimiError | None:
        """None for "": the model's own. Where it cannot be, why: a ``ModelMissing``,
        ``ModelCorrupt`` or ``OutOfMemory``, until a file comes or goes, without another look."""
        if not name:
            return None
        key = self.key(name)
        if self._known is None or self._known[0] != key:
            # Never two of them in memory.
            self._known = None
            self._known = key, self._try(name)
        return self._known[1]

    def key(self, name: str) -> Hashable:
        """Tells one autoencoder from another, and from a newer file of the same name."""
        return name, self._library.version if name and self._library is not None else 0

    def _try(self, name: str) -> AutoencoderKL | NijimiError:
        try:
            return _settled(_load(name, self._bundle, self._library), self._bundle)
        except NijimiError as error:
            return error
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            log.warning("loading the VAE %s failed", name, exc_info=True)
            if is_out_of_memory(error):
                return OutOfMemory(
                    f"The VAE {name} does not fit into memory.",
                    "Close other programs, or choose the model's own.",
                )
            return ModelCorrupt(
                f"The VAE {name} cannot be read ({first_line(error)}).",
                "Copy or download it again, or choose the model's own.",
            )


def _load(name: str, bundle: ModelBundle, library: Library | None) -> AutoencoderKL:
    file = library.find((FileKind.VAE,), name) if library is not None else None
    if file is None:
        raise ModelMissing(
            f"There is no VAE named {name!r}.",
            f"Put it into {own_folder(library) / 'vae'}, or choose the model's own.",
        )
    if file.trouble:
        raise ModelCorrupt(file.trouble, "Choose the model's own, or copy the file again.")
    header = read_header(file.path)
    prefix = VAE if header.has(VAE + "decoder.conv_in.weight") else ""
    channels = header.shapes[prefix + "decoder.conv_in.weight"][1]
    if bundle.info.family == "mini" or channels != bundle.latent_channels:
        raise ModelMissing(
            f"The VAE {name} is not for the model {bundle.info.title}.",
            "Choose the model's own.",
        )
    return read_vae_file(header, bundle.info.family, prefix, bundle.device.dtype)


def _settled(vae: AutoencoderKL, bundle: ModelBundle) -> AutoencoderKL:
    """As the model's own lies in memory."""
    network: Any = vae
    network.requires_grad_(False)
    network.eval()
    network.to(bundle.device.torch_device, bundle.vae.dtype)
    bundle.placement.tile(network)
    lay_out(network, on_gpu=bundle.device.is_cuda)
    return vae
