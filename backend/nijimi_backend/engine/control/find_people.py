"""A picture enters; the people in it leave, as OpenPose's eighteen joints.

BlazePose (Bazarevsky et al., arXiv 2006.10204) as MediaPipe publishes it: one network finds people
as a circle and an upright direction, another one finds 33 landmarks in the turned square around
each. Weights are taken out of a package (``models/package_files.py``); the interpreter is the
optional package ``ai-edge-litert``. The numbers below are those of MediaPipe's graphs
``pose_detection_cpu`` and ``pose_landmark_cpu``.

We depart from MediaPipe in one point: everybody who is found gets landmarks, not only the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.pose import Joint, Person

from ...errors import ModelMissing
from ..request import Pixels
from .optional_runtime import optional_runtime

__all__ = [
    "DETECTOR",
    "LOCATOR",
    "PeopleFinder",
    "Roi",
    "body_of",
    "decode_detections",
    "refined",
    "roi_of",
    "windows_of",
]

DETECTOR = "pose_detection.tflite"
LOCATOR = "pose_landmark_full.tflite"

Floats = npt.NDArray[np.floating[Any]]

_DETECTOR_PX = 224
_LANDMARK_PX = 256
_LEAST_SCORE = 0.5
_SAME_PERSON = 0.3
"""Two circles whose boxes share so much of both are one person's."""

_ROI_SCALE = 1.25
_LEAST_VISIBLE = 0.5
_MOST_PEOPLE = 16

_LONG = 1.4
"""From this ratio of its sides on a picture is looked at piece by piece, too."""

_LANDMARKS = 39
"""33 of the body, and six that only help to follow somebody through a film."""

_HEAT_PX = 64
_HEAT_REACH = 3

_LANDMARK_OF = (0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
"""Which of BlazePose's landmarks each joint of body-18 is; the neck is between the shoulders."""

_NECK = 1
_SHOULDERS = (11, 12)


class Detection(NamedTuple):
    """One person as parts of the padded square: middle of the hips, and the end of the circle's
    radius that points to the head."""

    score: float
    box: Floats
    hips: Floats
    up: Floats


class Roi(NamedTuple):
    """The turned square that a person fills, in pixels; ``angle`` in radians, 0 is upright."""

    x: float
    y: float
    side: float
    angle: float


class Network(Protocol):
    """One network: N x side x side x 3 in, its outputs by their number of values."""

    def __call__(self, values: Floats) -> dict[int, Floats]: ...


class PeopleFinder:
    """Both networks. Raises ``ModelMissing`` where weights or the interpreter are not there."""

    def __init__(self, folder: Path) -> None:
        self._detect = _open(folder / DETECTOR)
        self._locate = _open(folder / LOCATOR)

    def find(self, canvas: Pixels) -> tuple[Person, ...]:
        """``canvas``: H x W x 4, BGRA. Everybody, the surest first, in pixels of the canvas."""
        rgb = np.ascontiguousarray(canvas[..., 2::-1])
        people: list[Person] = []
        for roi in self._rois(rgb):
            person = _person(self._locate, rgb, roi)
            if person is not None and not any(_is_same(person, other) for other in people):
                people.append(person)
        return tuple(people[:_MOST_PEOPLE])

    def _rois(self, rgb: npt.NDArray[np.uint8]) -> Iterator[Roi]:
        """Of the whole picture; in a long one then of squares along it, where people are larger."""
        for window in windows_of(*rgb.shape[:2]):
            square, _ = _cut(rgb, window, _DETECTOR_PX, cv2.BORDER_CONSTANT)
            outputs = self._detect(square / 127.5 - 1.0)
            count = _anchors().shape[0]
            boxes, logits = outputs[count * 12].reshape(count, 12), outputs[count].reshape(count)
            for detection in decode_detections(boxes, logits):
                yield roi_of(detection, window)


def _open(path: Path) -> Network:
    if not path.is_file():
        raise ModelMissing(
            f"The network that finds people is not there ({path.name}).",
            "Run: nijimi models fetch blazepose",
        )
    made = optional_runtime("ai_edge_litert.interpreter", "ai-edge-litert", "Finding people")
    interpreter: Any = made.Interpreter(model_path=str(path), num_threads=2)
    interpreter.allocate_tensors()
    enters: int = interpreter.get_input_details()[0]["index"]
    leaves: list[int] = [each["index"] for each in interpreter.get_output_details()]

    def run(values: Floats) -> dict[int, Floats]:
        interpreter.set_tensor(enters, values)
        interpreter.invoke()
        outputs = [np.asarray(interpreter.get_tensor(index), np.float32) for index in leaves]
        return {output.size: output for output in outputs}

    return run


def windows_of(height: int, width: int) -> list[Roi]:
    """Upright squares to look at: the one around the picture, then overlapping ones along it."""
    short, long = sorted((height, width))
    found = [Roi(width / 2, height / 2, float(long), 0.0)]
    if long < _LONG * short:
        return found
    count = math.ceil(2 * long / short) - 1
    for centre in np.linspace(short / 2, long - short / 2, count):
        x, y = (centre, height / 2) if width > height else (width / 2, centre)
        found.append(Roi(float(x), float(y), float(short), 0.0))
    return found


def _anchors() -> Floats:
    """Centres of the detector's cells as parts of the square, 2254 x 2: two a cell, and six where
    three layers have the same stride."""
    found: list[Floats] = []
    for stride, each in ((8, 2), (16, 2), (32, 6)):
        cells = (np.arange(_DETECTOR_PX // stride, dtype=np.float32) + 0.5) * stride / _DETECTOR_PX
        y, x = np.meshgrid(cells, cells, indexing="ij")
        grid = np.stack([x.ravel(), y.ravel()], 1)  # cells x 2
        found.append(np.repeat(grid, each, axis=0))
    return np.concatenate(found)


def decode_detections(boxes: Floats, logits: Floats) -> list[Detection]:
    """``boxes``: anchors x 12 (centre, size, four points, each in pixels from the anchor);
    ``logits``: anchors. Overlapping ones are averaged by their scores, the surest first."""
    scores = _sigmoid(logits)
    sure = np.flatnonzero(scores >= _LEAST_SCORE)
    sure = sure[np.argsort(-scores[sure], kind="stable")]
    at = boxes[sure] / _DETECTOR_PX
    anchors = _anchors()[sure]
    at[:, :2] += anchors
    at[:, 4:] += np.tile(anchors, 4)
    sides = np.concatenate([at[:, :2] - at[:, 2:4] / 2, at[:, :2] + at[:, 2:4] / 2], 1)
    left = list(range(len(sure)))
    found: list[Detection] = []
    while left:
        alike = [n for n in left if _overlap(sides[left[0]], sides[n]) > _SAME_PERSON]
        alike = alike or [left[0]]
        weights = scores[sure[alike]]
        mean = np.average(np.concatenate([sides, at[:, 4:8]], 1)[alike], axis=0, weights=weights)
        box, hips, up = (np.asarray(part, np.float32) for part in np.split(mean, (4, 6)))
        found.append(Detection(float(scores[sure[left[0]]]), box, hips, up))
        left = [n for n in left if n not in alike]
    return found


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -80.0, 80.0))), np.float32)


def _overlap(one: Floats, other: Floats) -> float:
    """Shared area over the area of both."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    areas = [float(np.prod(np.maximum(each[2:] - each[:2], 0.0))) for each in (one, other)]
    return shared / max(1e-9, sum(areas) - shared)


def roi_of(detection: Detection, window: Roi) -> Roi:
    """The square around the circle, a quarter larger, turned so that the person stands upright."""
    corner = np.array([window.x, window.y]) - window.side / 2
    centre = detection.hips * window.side + corner
    up = detection.up * window.side + corner
    radius = math.hypot(*(up - centre))
    angle = math.pi / 2 - math.atan2(-(up[1] - centre[1]), up[0] - centre[0])
    return Roi(float(centre[0]), float(centre[1]), 2 * radius * _ROI_SCALE, angle)


def _person(network: Network, rgb: npt.NDArray[np.uint8], roi: Roi) -> Person | None:
    """None where the second network sees nobody in the square."""
    if roi.side < 2:
        return None
    crop, to_canvas = _cut(rgb, roi, _LANDMARK_PX, cv2.BORDER_REPLICATE)
    outputs = network(crop / 255.0)
    if float(outputs[1].reshape(())) < _LEAST_SCORE:
        return None
    landmarks = outputs[_LANDMARKS * 5].reshape(_LANDMARKS, 5)
    heat = outputs[_HEAT_PX**2 * _LANDMARKS].reshape(_HEAT_PX, _HEAT_PX, _LANDMARKS)
    at = refined(landmarks[:33, :2] / _LANDMARK_PX, _sigmoid(heat)) * _LANDMARK_PX
    places = at @ to_canvas[:, :2].T + to_canvas[:, 2]
    return body_of(places, _sigmoid(landmarks[:33, 3]))


def _cut(
    rgb: npt.NDArray[np.uint8], roi: Roi, side_px: int, border: int
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """The square as a network takes it, 1 x side x side x 3 in [0, 255], and the way back (2 x 3).

    Sampled as MediaPipe does, without a filter before: the networks were trained on such pictures.
    """
    cos, sin = math.cos(roi.angle), math.sin(roi.angle)
    turn = roi.side / side_px * np.array([[cos, -sin], [sin, cos]])
    middle = turn @ np.full((2, 1), side_px / 2)
    to_canvas = np.concatenate([turn, np.array([[roi.x], [roi.y]]) - middle], 1)
    crop = cv2.warpAffine(
        rgb, to_canvas, (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border,
    )  # fmt: skip
    return np.asarray(crop, np.float32)[None], to_canvas


def refined(places: Floats, heat: Floats) -> Floats:
    """Moved to where the heat around each is: ``places`` n x 2 in [0, 1], ``heat`` side x side x
    landmarks in [0, 1] (MediaPipe's ``refine_landmarks_from_heatmap``, a kernel of 7)."""
    side = heat.shape[0]
    moved = places.copy()
    for n, (column, row) in enumerate((places * side).astype(int)):
        if not (0 <= column < side and 0 <= row < side):
            continue
        top, left = max(0, row - _HEAT_REACH), max(0, column - _HEAT_REACH)
        near = heat[top : row + _HEAT_REACH + 1, left : column + _HEAT_REACH + 1, n]
        if near.max() >= _LEAST_SCORE:
            rows, columns = np.indices(near.shape)
            moved[n, 0] = (left + (columns * near).sum() / near.sum()) / side
            moved[n, 1] = (top + (rows * near).sum() / near.sum()) / side
    return moved


def body_of(places: npt.NDArray[np.floating[Any]], visible: Floats) -> Person | None:
    """33 landmarks as body-18; those that are hardly visible are left out, and who has fewer than
    four is nobody."""
    joints: list[Joint] = []
    for number, landmark in enumerate(_LANDMARK_OF):
        of = list(_SHOULDERS) if number == _NECK else [landmark]
        x, y = places[of].mean(0)
        sure = float(visible[of].min())
        is_seen = sure >= _LEAST_VISIBLE
        joints.append(Joint(float(x), float(y), sure) if is_seen else Joint(0.0, 0.0, 0.0))
    if sum(joint.confidence > 0 for joint in joints) < 4:
        return None
    return Person(body=tuple(joints))


def _is_same(one: Person, other: Person) -> bool:
    """Two squares may hold the same person: joint upon joint, by a tenth of their size."""
    pairs = [
        (a, b) for a, b in zip(one.body, other.body, strict=True) if a.confidence and b.confidence
    ]
    if len(pairs) < 4:
        return False
    xs, ys = [a.x for a, _ in pairs], [a.y for a, _ in pairs]
    size = max(max(xs) - min(xs), max(ys) - min(ys), 1.0)
    apart = [math.hypot(a.x - b.x, a.y - b.y) for a, b in pairs]
    return sorted(apart)[len(apart) // 2] < 0.1 * size
