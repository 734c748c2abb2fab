"""People in pictures: the parts of the way against numbers made by hand, all of it against
MediaPipe's own on two photographs."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nijimi_backend.cli import main
from nijimi_backend.engine.control.find_people import (
    DETECTOR,
    Detection,
    PeopleFinder,
    Roi,
    body_of,
    decode_detections,
    refined,
    roi_of,
    windows_of,
)
from nijimi_backend.errors import DownloadFailed, ModelCorrupt, ModelMissing
from nijimi_backend.models import package_files
from nijimi_backend.models.package_files import (
    PackageFiles,
    fetch_package_files,
    files_dir,
    known_packages,
)
from nijimi_backend.picture_files import read_picture
from nijimi_protocol.geometry import Extent
from nijimi_protocol.openpose import openpose_people

MEDIAPIPE = {
    "astronaut.png": {
        0: (222.7, 128.0), 2: (112.7, 240.0), 3: (64.6, 413.6), 5: (306.2, 256.6),
        14: (205.0, 103.3), 15: (248.9, 112.5), 16: (190.4, 107.4), 17: (268.0, 122.8),
    },
    "camera.png": {
        0: (247.0, 169.6), 2: (104.7, 181.8), 3: (142.5, 302.3), 4: (258.6, 221.2),
        5: (219.6, 169.1), 7: (395.1, 199.2), 8: (49.8, 344.0), 9: (86.9, 467.9),
        11: (113.4, 322.6), 14: (241.9, 152.7), 15: (250.8, 152.4),
    },
}  # fmt: skip
"""Where mediapipe 0.10.21's own Pose (static pictures, complexity 1) finds body-18's joints in two
pictures that scikit-image carries, in pixels of 512."""

_AGREES_PX = 20.0
"""Five of the second network's pixels, of which these people fill a part only."""


@pytest.fixture(scope="session")
def blazepose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (wanted,) = [each for each in known_packages() if each.name == "blazepose"]
    there = files_dir("blazepose")
    try:
        return fetch_package_files(
            wanted, there if there.is_dir() else tmp_path_factory.mktemp("b")
        )
    except DownloadFailed:
        pytest.skip("mediapipe's weights are not here and cannot be downloaded")


@pytest.fixture
def photographs() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("scikit-image, which has the photographs, is not installed")
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("ai-edge-litert is not installed")
    return Path(found.origin).parent / "data"


@pytest.mark.parametrize("name", MEDIAPIPE)
def test_people_are_found_where_mediapipe_finds_them(
    blazepose: Path, photographs: Path, name: str
) -> None:
    (person,) = PeopleFinder(blazepose).find(read_picture(photographs / name).canvas)
    apart = {
        joint: math.dist(place, person.body[joint][:2]) for joint, place in MEDIAPIPE[name].items()
    }
    assert max(apart.values()) < _AGREES_PX, apart
    assert sorted(apart.values())[len(apart) // 2] < 8.0, apart
    # What is outside of the picture or hidden is not guessed.
    assert person.body[13].confidence == 0.0


def test_two_people_are_two(blazepose: Path, photographs: Path) -> None:
    one = read_picture(photographs / "camera.png").canvas
    both = np.concatenate([one, one[:, ::-1]], 1)
    left, right = sorted(PeopleFinder(blazepose).find(both), key=lambda each: each.body[0].x)
    assert left.body[0].x < 512 < right.body[0].x
    # The mirror image of somebody has left and right exchanged.
    assert abs(1024 - right.body[5].x - left.body[2].x) < 2 * _AGREES_PX


def test_the_command_writes_an_openpose_file(
    blazepose: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nijimi_backend.pose_command.files_dir", lambda _name: blazepose)
    output = tmp_path / "people.json"
    assert main(["pose", str(photographs / "astronaut.png"), "-o", str(output)]) == 0
    (person,) = openpose_people(output.read_text(), Extent(256, 256))
    assert math.dist(person.body[0][:2], (111.3, 64.0)) < 4


def test_a_picture_of_nobody_is_told(
    blazepose: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nijimi_backend.pose_command.files_dir", lambda _name: blazepose)
    output = tmp_path / "people.json"
    assert main(["pose", str(photographs / "brick.png"), "-o", str(output)]) == 2
    assert "Nobody was found" in capsys.readouterr().err
    assert not output.exists()
    assert main(["pose", str(photographs / "brick.png"), "-o", str(tmp_path)]) == 2


def test_finding_people_does_without_torch() -> None:
    """It is waited for: a second for what the painter asked, not ten for what is not needed."""
    code = (
        "import sys; from nijimi_backend.engine.control import find_people; "
        "from nijimi_backend import pose_command, cli; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The parts -------------------------------------------------------------------------------------


def test_boxes_are_read_from_their_anchors_and_alike_ones_averaged() -> None:
    boxes, logits = np.zeros((2254, 12), np.float32), np.full(2254, -100.0, np.float32)
    # The first cell's first anchor is half a stride from the corner; its neighbour the same one.
    for anchor, logit, shift in ((0, 2.0, 0.0), (1, 2.0, 4.48)):
        logits[anchor] = logit
        boxes[anchor] = [22.4 + shift, 44.8, 112, 112, 11.2, 22.4, 11.2, -22.4, 0, 0, 0, 0]
    logits[1700] = 0.1
    boxes[1700] = [0, 0, 22.4, 22.4, 0, 0, 0, 0, 0, 0, 0, 0]
    first, second = decode_detections(boxes, logits)
    start = 4 / 224
    assert first.score == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert first.box[:2] == pytest.approx([start + 0.11 - 0.25, start + 0.2 - 0.25], abs=1e-5)
    assert first.hips == pytest.approx([start + 0.05, start + 0.1], abs=1e-5)
    # Of the next layer: stride 16, 28 x 28 x 2 anchors before it, two in a cell, 14 in a row.
    cell = (1700 - 1568) // 2
    assert second.hips == pytest.approx(
        [(cell % 14 + 0.5) * 16 / 224, (cell // 14 + 0.5) * 16 / 224], abs=1e-5
    )
    assert decode_detections(boxes, np.full(2254, -1.0, np.float32)) == []


@pytest.mark.parametrize(
    ("up", "angle"), [((0.5, 0.25), 0.0), ((0.75, 0.5), math.pi / 2), ((0.5, 0.75), math.pi)]
)
def test_the_square_stands_as_the_person_does(up: tuple[float, float], angle: float) -> None:
    box = np.zeros(4, np.float32)
    at = Detection(0.9, box, np.array([0.5, 0.5], np.float32), np.array(up, np.float32))
    # The square around a picture of 200 x 100 px begins 50 px above it.
    (window, *_) = windows_of(100, 200)
    roi = roi_of(at, window)
    assert (roi.x, roi.y) == (100.0, 50.0)
    assert roi.side == pytest.approx(2 * 50 * 1.25)
    assert roi.angle == pytest.approx(angle)


def test_a_long_picture_is_looked_at_piece_by_piece() -> None:
    assert windows_of(512, 512) == [Roi(256, 256, 512, 0)]
    assert windows_of(400, 500) == [Roi(250, 200, 500, 0)]
    whole, *pieces = windows_of(100, 300)
    assert whole == Roi(150, 50, 300, 0)
    assert [piece.x for piece in pieces] == [50, 100, 150, 200, 250]
    assert {(piece.y, piece.side) for piece in pieces} == {(50, 100)}
    assert [piece.y for piece in windows_of(200, 100)[1:]] == [50, 100, 150]


def test_places_move_to_the_heat_around_them() -> None:
    heat = np.zeros((64, 64, 3), np.float32)
    heat[10, 12, 0], heat[10, 13, 0] = 0.9, 0.3
    heat[40, 40, 1] = 0.2
    places = np.array([[11.5 / 64, 11.5 / 64], [0.6, 0.6], [1.4, -0.2]], np.float32)
    moved = refined(places, heat)
    assert moved[0] == pytest.approx([12.25 / 64, 10 / 64])
    assert moved[1:] == pytest.approx(places[1:]), "too faint, and outside"


def test_landmarks_become_body_18() -> None:
    places = np.stack([np.arange(33.0), 100 + np.arange(33.0)], 1)
    visible = np.ones(33, np.float32)
    visible[[13, 12]] = 0.2
    person = body_of(places, visible)
    assert person is not None
    assert person.body[0][:2] == (0.0, 100.0)
    assert person.body[10][:2] == (28.0, 128.0), "the right ankle"
    assert person.body[15][:2] == (2.0, 102.0), "the left eye"
    unseen = [n for n, joint in enumerate(person.body) if joint.confidence == 0]
    assert unseen == [1, 2, 6], "a shoulder, the neck between both, and an elbow"
    assert body_of(places, np.zeros(33, np.float32)) is None


def test_missing_weights_are_told_with_the_command_that_brings_them(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="nijimi models fetch blazepose"):
        PeopleFinder(tmp_path)


def test_a_missing_interpreter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / DETECTOR).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModelMissing, match="ai-edge-litert"):
        PeopleFinder(tmp_path)


# Files out of packages -------------------------------------------------------------------------

_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
WANTED = PackageFiles(
    name="x", title="Hello", requirement="hello==1", python="3.11", licence="CC0", page="",
    files={"hello/deep/word.bin": _HELLO},
)  # fmt: skip


def _wheel(content: bytes) -> package_files.Pip:
    def pip(words: list[str]) -> bool:
        assert "--no-deps" in words
        assert words[-1] == "hello==1"
        folder = Path(words[words.index("-d") + 1])
        with zipfile.ZipFile(folder / "hello-1-py3-none-any.whl", "w") as archive:
            archive.writestr("hello/deep/word.bin", content)
        return True

    return pip


def test_files_are_taken_out_of_a_package_once(tmp_path: Path) -> None:
    folder = fetch_package_files(WANTED, tmp_path / "f", _wheel(b"hello"))
    assert (folder / "word.bin").read_bytes() == b"hello"

    def never(_words: list[str]) -> bool:
        raise AssertionError

    assert fetch_package_files(WANTED, folder, never) == folder


def test_another_file_than_is_known_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelCorrupt, match="another file than is known"):
        fetch_package_files(WANTED, tmp_path / "f", _wheel(b"evil"))
    with pytest.raises(DownloadFailed, match="pip did not get hello==1"):
        fetch_package_files(WANTED, tmp_path / "f", lambda _words: False)
    assert not (tmp_path / "f").exists()


def test_the_list_shows_packages_and_knows_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    asked: list[list[str]] = []

    def pip(words: list[str]) -> bool:
        asked.append(words)
        return False

    monkeypatch.setattr(package_files, "_pip", pip)
    assert main(["models", "fetch"]) == 0
    assert "BlazePose" in capsys.readouterr().out
    assert main(["models", "fetch", "blazepose"]) == 2
    assert asked[0][-1] == "mediapipe==0.10.21"
    assert main(["models", "fetch", "nobody"]) == 2
    assert "blazepose" in capsys.readouterr().err
