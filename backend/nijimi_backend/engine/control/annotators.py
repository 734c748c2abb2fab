"""A picture enters; what only a network can see in it leaves: people, depth, and normals from that.

Depth networks are ONNX files that painters put into ``annotators`` in their models folder, as they
are published for MiDaS (Ranftl et al., arXiv 1907.01341), DPT and Depth Anything (Yang et al.,
arXiv 2401.10891): RGB with ImageNet's mean and spread in, inverse depth of any scale out.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.pose import Person

from ...errors import BadInput, ModelMissing
from ...models.library import Library, own_folder
from ...models.package_files import files_dir
from ..cache import StageCache
from ..request import Pixels
from .find_people import PeopleFinder

__all__ = ["FOLDER", "Annotators", "input_side", "normals_of"]

FOLDER = "annotators"

_DEPTH_NAMES = ("depth", "midas", "dpt")
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_NORMAL_STRENGTH = 1.5
"""A plane from far to near over the picture's short side is tilted by 56 degrees."""


class Annotators:
    """Networks that see something. Each is opened when it is first needed, and kept."""

    def __init__(self, library: Library | None) -> None:
        self._library = library
        self._finders: StageCache[PeopleFinder] = StageCache(1)
        self._sessions: StageCache[Any] = StageCache(1)

    def people(self, layer: Pixels) -> tuple[Person, ...]:
        """Everybody in a BGRA picture, in its pixels."""
        folder = files_dir("blazepose")
        return self._finders.get(folder, lambda: PeopleFinder(folder)).find(layer)

    def depth(self, rgb: Pixels) -> npt.NDArray[np.uint8]:
        """H x W, 255 is nearest; of a picture that is flat all is 0."""
        path = self._depth_file()
        session = self._sessions.get((path, path.stat().st_mtime_ns), lambda: _open(path))
        (enters,) = session.get_inputs()[:1]
        height, width = rgb.shape[:2]
        side = input_side(enters.shape, path.stem, height, width)
        small = cv2.resize(rgb, side, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        values = ((small - _MEAN) / _SPREAD).transpose(2, 0, 1)[None]  # 1 x 3 x h x w
        try:
            found = np.asarray(session.run(None, {enters.name: values})[0], np.float32)
        except Exception as error:
            # The runtime has no class of its own for a network that is not what it seems.
            raise BadInput(
                f"{path.name} cannot estimate depth ({str(error).splitlines()[0][:120]}).",
                "Put another network there: MiDaS, DPT or Depth Anything, as ONNX.",
            ) from error
        if found.size != side[0] * side[1]:
            raise BadInput(
                f"{path.name} does not give one depth a pixel.",
                "Put another network there: MiDaS, DPT or Depth Anything, as ONNX.",
            )
        plane = cv2.resize(found.reshape(side[1], side[0]), (width, height))
        low, high = float(plane.min()), float(plane.max())
        return np.asarray((255.0 * (plane - low) / max(high - low, 1e-6)).round(), np.uint8)

    def _depth_file(self) -> Path:
        roots = self._library.roots if self._library is not None else ()
        for root in roots or (own_folder(None),):
            for path in sorted((root / FOLDER).glob("*.onnx")):
                if any(name in path.stem.lower() for name in _DEPTH_NAMES):
                    return path
        place = own_folder(self._library) / FOLDER
        raise ModelMissing(
            "Depth cannot be seen in a picture yet: a network for it is missing.",
            f"Put one (MiDaS, DPT or Depth Anything, as .onnx) into {place}, or paint the depth.",
        )


def _open(path: Path) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise ModelMissing(
            "Depth networks need the package onnxruntime, which is not installed.",
            'Run pip install "nijimi[pose]" in Nijimi\'s environment.',
        ) from None
    options: Any = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput(
            f"{path.name} is no network that can be run ({str(error).splitlines()[0][:120]}).",
            "Download it again.",
        ) from error


def input_side(shape: list[Any], name: str, height: int, width: int) -> tuple[int, int]:
    """Width and height that a network wants: its own, or where any will do those that it was
    trained at, at the picture's aspect."""
    if len(shape) == 4 and all(isinstance(value, int) for value in shape[2:]):
        return int(shape[3]), int(shape[2])
    is_older = any(word in name.lower() for word in ("midas", "dpt"))
    side, step = (384, 32) if is_older else (518, 14)
    scale = side / min(height, width)
    return tuple(max(step, step * math.floor(scale * each / step)) for each in (width, height))  # type: ignore[return-value]


def normals_of(depth: npt.NDArray[np.uint8]) -> Pixels:
    """The directions that a plane of depth faces, RGB as ControlNet's normal maps: red to the
    right, green up, blue towards us (as ControlNet 1.0 made them of MiDaS's depth)."""
    plane = cv2.GaussianBlur(depth.astype(np.float32) / 255.0, (0, 0), 1.0)
    scale = _NORMAL_STRENGTH * min(depth.shape)
    across = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8)) * scale
    down = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8)) * scale
    # Nearer to the right means that the surface looks to the left.
    normals = np.stack([-across, down, np.ones_like(plane)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.asarray((normals * 127.5 + 127.5).round(), np.uint8)
