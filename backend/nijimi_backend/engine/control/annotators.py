"""A picture enters; what only a network can see in it leaves: people, depth, kinds of things.

Networks for depth and for segments are ONNX files that painters put into ``annotators`` in their
models folder, as they are published for MiDaS (Ranftl et al., arXiv 1907.01341), DPT and Depth
Anything (Yang et al., arXiv 2401.10891), and for SegFormer (Xie et al., arXiv 2105.15203) and
UPerNet on ADE20K. Both take RGB with ImageNet's mean and spread; the first give inverse depth of
any scale, the others a score, or the number, of the kind of thing at each place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
from .optional_runtime import optional_runtime
from .segments import KINDS, in_colours, kinds_at

__all__ = ["FOLDER", "Annotators", "input_side", "normals_of"]

FOLDER = "annotators"


@dataclass(frozen=True, kw_only=True)
class _Sort:
    """Networks for one purpose: words in their files' names, and which ones are known to fit."""

    what: str
    names: tuple[str, ...]
    known: str
    paint: str


_DEPTH = _Sort(
    what="Depth",
    names=("depth", "midas", "dpt"),
    known="MiDaS, DPT or Depth Anything",
    paint="run: nijimi models fetch depth-anything-v2-small, or paint the depth",
)
_SEGMENTS = _Sort(
    what="Kinds of things",
    names=("segformer", "upernet", "oneformer", "ade20k", "ade-", "ade_", "seg"),
    known="SegFormer or UPerNet for ADE20K",
    paint="paint them in the colours of the palette Nijimi segments",
)
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_TRAINED_AT = {"midas": (384, 32), "dpt": (384, 32), "seg": (512, 32), "ade": (512, 32),
               "upernet": (512, 32), "oneformer": (640, 32)}  # fmt: skip
"""Shorter side, and what both are multiples of, by a word of the name; else Depth Anything's."""
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
        height, width = rgb.shape[:2]
        path, side, found = self._look(_DEPTH, rgb)
        if found.size != side[0] * side[1]:
            raise _another(path, "does not give one depth a pixel", _DEPTH)
        plane = cv2.resize(found.astype(np.float32).reshape(side[1], side[0]), (width, height))
        low, high = float(plane.min()), float(plane.max())
        return np.asarray((255.0 * (plane - low) / max(high - low, 1e-6)).round(), np.uint8)

    def segments(self, rgb: Pixels) -> Pixels:
        """Each pixel in the colour of the kind of thing that is there, RGB."""
        height, width = rgb.shape[:2]
        path, _, found = self._look(_SEGMENTS, rgb)
        if found.ndim == 4 and found.shape[1] == KINDS:
            return in_colours(kinds_at(found[0].astype(np.float32), width, height))
        numbers = found.squeeze()
        if numbers.ndim != 2 or not 0 <= numbers.min() <= numbers.max() < KINDS:
            raise _another(path, f"does not tell ADE20K's {KINDS} kinds of things", _SEGMENTS)
        exact = numbers.astype(np.uint8)
        wide = cv2.resize(exact, (width, height), interpolation=cv2.INTER_NEAREST)
        return in_colours(np.asarray(wide, np.uint8))

    def _look(self, sort: _Sort, rgb: Pixels) -> tuple[Path, tuple[int, int], npt.NDArray[Any]]:
        """The network's file, width and height of what it was shown, and what it said."""
        path = self._file(sort)
        key = (path, path.stat().st_mtime_ns)
        session = self._sessions.get(key, lambda: _open(path))
        (enters,) = session.get_inputs()[:1]
        side = input_side(enters.shape, path.stem, *rgb.shape[:2])
        small = cv2.resize(rgb, side, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        values = ((small - _MEAN) / _SPREAD).transpose(2, 0, 1)[None]  # 1 x 3 x h x w
        try:
            return path, side, np.asarray(session.run(None, {enters.name: values})[0])
        except Exception as error:
            # The runtime has no class of its own for a network that is not what it seems.
            first = str(error).splitlines()[0][:120]
            raise _another(path, f"cannot look at this picture ({first})", sort) from error

    def _file(self, sort: _Sort) -> Path:
        roots = self._library.roots if self._library is not None else ()
        for root in roots or (own_folder(None),):
            for path in sorted((root / FOLDER).glob("*.onnx")):
                if any(name in path.stem.lower() for name in sort.names):
                    return path
        place = own_folder(self._library) / FOLDER
        raise ModelMissing(
            f"{sort.what} cannot be seen in a picture yet: a network for it is missing.",
            f"Put one ({sort.known}, as .onnx) into {place}; or {sort.paint}.",
        )


def _another(path: Path, fault: str, sort: _Sort) -> BadInput:
    return BadInput(f"{path.name} {fault}.", f"Put another network there: {sort.known}, as ONNX.")


def _open(path: Path) -> Any:
    runtime = optional_runtime("onnxruntime", "onnxruntime", "Seeing what is in a picture")
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
    side, step = next(
        (trained for word, trained in _TRAINED_AT.items() if word in name.lower()), (518, 14)
    )
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
