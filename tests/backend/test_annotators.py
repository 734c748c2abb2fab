"""What only a network sees: depth by a small one of ours, normals from it, poses by BlazePose."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from nijimi_backend.engine.control import annotators as annotators_module
from nijimi_backend.engine.control.annotators import Annotators, input_side, normals_of
from nijimi_backend.engine.control.hints import make_hint
from nijimi_backend.engine.control.segments import KINDS, colours
from nijimi_backend.engine.request import Control, Pixels
from nijimi_backend.errors import BadInput, ModelMissing
from nijimi_backend.models.library import Library
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.pose import Joint, Person

from tests.support.onnx_files import write_mean_network, write_repeating_network

onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the depth networks")

SIZE = Extent(96, 64)


def _ramp() -> Pixels:
    """Brighter from left to right, BGRA."""
    picture = np.full((SIZE.height, SIZE.width, 4), 255, np.uint8)
    picture[..., :3] = np.linspace(0, 240, SIZE.width).astype(np.uint8)[None, :, None]
    return picture


def _hint(kind: str, folder: Path, picture: Pixels | None = None) -> Pixels:
    control = Control(kind=kind, pixels=_ramp() if picture is None else picture, process=True)
    return make_hint(control, SIZE, SIZE.bounds, SIZE, Annotators(Library([folder])))


@pytest.mark.parametrize("sides", [("h", "w"), (32, 48)])
def test_depth_is_what_the_network_says_near_is_bright(
    tmp_path: Path, sides: tuple[int | str, int | str]
) -> None:
    write_mean_network(tmp_path / "annotators" / "my-depth.onnx", sides)
    hint = _hint("depth", tmp_path)
    assert hint.shape == (SIZE.height, SIZE.width, 3)
    row = hint[30, :, 0].astype(int)
    assert row[0] <= 6
    assert row[-1] >= 249
    assert (np.diff(row) >= 0).all()
    assert np.abs(row - np.linspace(0, 255, SIZE.width)).max() < 8
    assert np.ptp(hint, axis=2).max() == 0, "grey"


def test_a_flat_picture_has_no_depth(tmp_path: Path) -> None:
    write_mean_network(tmp_path / "annotators" / "midas.onnx")
    flat = np.full((SIZE.height, SIZE.width, 4), 100, np.uint8)
    assert _hint("depth", tmp_path, flat).max() == 0


def test_normals_follow_the_depth(tmp_path: Path) -> None:
    write_mean_network(tmp_path / "annotators" / "depth.onnx")
    normal = _hint("normal", tmp_path)[32, 48].astype(int)
    assert normal[0] < 120, "nearer to the right: it looks to the left"
    assert abs(normal[1] - 128) <= 2
    assert normal[2] > 200
    towards = normals_of(np.full((50, 50), 90, np.uint8))
    assert np.abs(towards.astype(int) - (128, 128, 255)).max() <= 1
    below = np.repeat(np.linspace(0, 255, 100).astype(np.uint8)[:, None], 100, 1)
    assert normals_of(below)[50, 50, 1] > 135, "nearer below: it looks up"


def test_a_network_that_is_missing_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="the palette Nijimi segments"):
        _hint("seg", tmp_path)
    with pytest.raises(ModelMissing, match=r"as \.onnx\) into .*annotators"):
        _hint("depth", tmp_path)
    write_mean_network(tmp_path / "annotators" / "other.onnx")
    with pytest.raises(ModelMissing):
        _hint("normal", tmp_path)


def test_a_new_file_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "annotators" / "depth.onnx"
    path.parent.mkdir()
    path.write_bytes(b"no network")
    seen = Annotators(Library([tmp_path]))
    rgb = np.ascontiguousarray(_ramp()[..., :3])
    with pytest.raises(BadInput, match="no network that can be run"):
        seen.depth(rgb)
    write_mean_network(path)
    assert seen.depth(rgb).max() == 255


def test_a_network_for_something_else_is_told(tmp_path: Path) -> None:
    path = write_mean_network(tmp_path / "annotators" / "depth.onnx", keeps=True)
    with pytest.raises(BadInput, match="one depth a pixel"):
        _hint("depth", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"Identity", b"Identitx"))
    with pytest.raises(BadInput):
        _hint("depth", tmp_path)


def _halves() -> Pixels:
    """Red on the left, blue on the right, BGRA."""
    picture = np.full((SIZE.height, SIZE.width, 4), 255, np.uint8)
    picture[:, :48, :3], picture[:, 48:, :3] = (0, 0, 255), (255, 0, 0)
    return picture


def test_kinds_of_things_have_the_colours_that_controlnet_was_trained_on(tmp_path: Path) -> None:
    # Scores are red, green, blue, red ...: red is the first kind's, blue the third's.
    write_repeating_network(tmp_path / "annotators" / "segformer-b0-ade.onnx", KINDS)
    hint = _hint("seg", tmp_path, _halves())
    assert tuple(hint[30, 10]) == (120, 120, 120), "a wall"
    assert tuple(hint[30, 80]) == (6, 230, 230), "the sky"
    assert len(np.unique(hint.reshape(-1, 3), axis=0)) == 2, "no colours between"


def test_a_network_may_tell_the_kinds_themselves(tmp_path: Path) -> None:
    # The mean of white, as networks see it, is 2.4 at most: the third kind.
    write_mean_network(tmp_path / "annotators" / "upernet.onnx")
    white = np.full((SIZE.height, SIZE.width, 4), 255, np.uint8)
    assert np.unique(_hint("seg", tmp_path, white).reshape(-1, 3), axis=0).tolist() == [
        [6, 230, 230]
    ]


@pytest.mark.parametrize("channels", [3, 153])
def test_a_network_that_knows_other_kinds_is_told(tmp_path: Path, channels: int) -> None:
    write_repeating_network(tmp_path / "annotators" / "seg.onnx", channels)
    with pytest.raises(BadInput, match="150 kinds of things"):
        _hint("seg", tmp_path, _halves())


def test_the_palette_for_painters_has_the_same_kinds_and_colours() -> None:
    plugin = Path(__file__).resolve().parents[2] / "krita_plugin" / "nijimi"
    lines = (plugin / "palettes" / "nijimi-segments.gpl").read_text().splitlines()
    rows = [line.partition("\t") for line in lines if "\t" in line]
    assert [[int(value) for value in left.split()] for left, _, _ in rows] == colours().tolist()
    assert [name for _, _, name in rows][:3] == ["wall", "building", "sky"]
    assert len(rows) == KINDS


def test_a_missing_runtime_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mean_network(tmp_path / "annotators" / "depth.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelMissing, match="onnxruntime"):
        _hint("depth", tmp_path)


@pytest.mark.parametrize(
    ("shape", "name", "side"),
    [
        ([1, 3, 256, 320], "midas", (320, 256)),
        (["n", 3, "h", "w"], "depth_anything_v2_vits", (784, 518)),
        ([1, 3, "h", "w"], "midas-small", (576, 384)),
        ([], "depth", (784, 518)),
        (["n", 3, "h", "w"], "segformer-b0-finetuned-ade", (768, 512)),
    ],
)
def test_networks_get_the_size_that_they_were_trained_at(
    shape: list[object], name: str, side: tuple[int, int]
) -> None:
    assert input_side(shape, name, 400, 608) == side


def test_a_pose_is_seen_in_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own pixels, which become those of the hint."""

    class Finder:
        def __init__(self, _folder: Path) -> None: ...

        def find(self, canvas: Pixels) -> tuple[Person, ...]:
            assert canvas.shape == (64, 96, 4)
            body = [Joint(0, 0, 0)] * 18
            body[2], body[3] = Joint(24, 16, 1), Joint(24, 48, 1)
            return (Person(body=tuple(body)),)

    monkeypatch.setattr(annotators_module, "PeopleFinder", Finder)
    control = Control(kind="pose", pixels=_ramp(), process=True)
    wide = Extent(192, 128)
    hint = make_hint(control, SIZE, Bounds(0, 0, 96, 64), wide, Annotators(None))
    assert hint[64, 48].max() > 100, "the middle of the upper arm"
    assert hint[64, 120].max() == 0
