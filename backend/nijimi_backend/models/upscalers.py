"""A library and a name enter; a network that enlarges pictures leaves.

Architectures and their loading are spandrel's: ESRGAN in its forms, Real-ESRGAN, SwinIR, HAT, DAT
and others, told by their weights. Only .safetensors are read (``nijimi models convert`` makes them
of the .pth files in which most were published).
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import logging
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ..errors import BadInput, ModelCorrupt, ModelMissing
from .device import Device
from .headers import first_line, read_header
from .library import Library
from .recognise import FileKind
from .weight_files import read_weights

__all__ = ["UpscaleNetwork", "UpscalerRoom", "load_upscaler"]


log = logging.getLogger(__name__)

_MISFITS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What spandrel's many architectures raise for weights of other shapes than theirs."""


@dataclass(frozen=True)
class UpscaleNetwork:
    """``run``: RGB 1 x 3 x h x w in [0, 1] to 1 x 3 x (h * scale) x (w * scale)."""

    name: str
    scale: int
    run: Any
    device: torch.device
    dtype: torch.dtype


class UpscalerRoom:
    """Keeps the network that was used last."""

    def __init__(self, library: Library | None, device: Device) -> None:
        self._library = library
        self._device = device
        self._known: UpscaleNetwork | None = None

    def get(self, name: str) -> UpscaleNetwork | None:
        """None for "": plain resampling. Errors as of ``load_upscaler``."""
        if not name:
            return None
        if self._known is None or self._known.name != name:
            self._known = None
            self._known = load_upscaler(name, self._library, self._device)
        return self._known


def load_upscaler(name: str, library: Library | None, device: Device) -> UpscaleNetwork:
    """The file of that name. Raises ``ModelMissing``, ``ModelCorrupt`` or ``BadInput``."""
    file = library.find((FileKind.UPSCALER,), name) if library is not None else None
    if file is None:
        raise ModelMissing(
            f"There is no upscaler named {name!r}.",
            "Choose another one, or put its .safetensors file into the models folder.",
        )
    if file.trouble:
        raise ModelCorrupt(file.trouble, "Choose another upscaler, or copy the file again.")
    header = read_header(file.path)
    weights = read_weights(header, {key: key for key in header.shapes}, torch.float32)
    spandrel = _import_spandrel()
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(weights)
    except (spandrel.UnsupportedModelError, *_MISFITS) as error:
        log.warning("%s: %s", file.path.name, first_line(error))
        raise ModelCorrupt(
            f"{file.path.name} is no upscaler that can be read.", "Choose another one."
        ) from error
    fits = found.input_channels == 3 and found.output_channels == 3 and found.scale >= 1
    if not isinstance(found, spandrel.ImageModelDescriptor) or not fits:
        raise BadInput(
            f"{file.path.name} does not make colour pictures larger.", "Choose another upscaler."
        )
    reduced = device.dtype is torch.bfloat16 and found.supports_bfloat16
    dtype = torch.bfloat16 if reduced else torch.float32
    found.model.requires_grad_(False)
    found.eval()
    found.to(device.torch_device, dtype)
    return UpscaleNetwork(name, found.scale, found, device.torch_device, dtype)


def _import_spandrel() -> Any:
    """spandrel imports all its architectures at once. Two of them, neither an upscaler, want
    torchvision, which is not there: its builds must match torch's to the letter."""
    if importlib.util.find_spec("spandrel") is None:
        raise BadInput(
            "Upscalers need the package spandrel, which is not installed.",
            "Run the installer again, or enlarge without a network.",
        )
    if "spandrel" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("spandrel")
    stand_ins = _torchvision_stand_ins()
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("spandrel")
    finally:
        # Nobody else shall think that it is installed.
        for name in stand_ins:
            del sys.modules[name]


def _torchvision_stand_ins() -> dict[str, ModuleType]:
    def missing(*_: Any, **__: Any) -> Any:
        raise ModelCorrupt("This architecture needs torchvision.", "Choose another upscaler.")

    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: ModuleType(name) for name in names}
    functional: Any = modules[names[-1]]
    functional.InterpolationMode = enum.Enum("InterpolationMode", ["NEAREST", "BILINEAR"])
    functional.rotate = functional.normalize = missing
    return modules
