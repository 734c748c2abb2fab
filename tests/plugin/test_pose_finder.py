"""People of the canvas and of files: what is looked at, where they come to lie, what is told."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nijimi.canvas.room import SelectionMask
from nijimi.live.pose_finder import PoseFinder, fitted, moved_person
from nijimi.qt import QtGui
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.openpose import openpose_text
from nijimi_protocol.pose import Joint, Person

from .flow_world import SIZE, World, spin

Wait = Callable[..., None]

BODY = tuple(Joint(n, 2 * n, 1.0) for n in range(17))
SOMEBODY = Person(body=(*BODY, Joint(0, 0, 0)))
FOUND = Extent(20, 40)
"""The picture of which the stand-in tells people."""

BACKEND = f"""#!{sys.executable}
import os, shutil, struct, sys, time
from pathlib import Path
here = Path(__file__).parent
picture, result = sys.argv[4], sys.argv[6]
assert sys.argv[3] == "pose" and sys.argv[5] == "-o", sys.argv
wide, high = struct.unpack(">II", Path(picture).read_bytes()[16:24])
(here / "looked_at").write_text(f"{{wide}} {{high}} {{picture}}")
if (here / "refusal").exists():
    print((here / "refusal").read_text(), file=sys.stderr); sys.exit(2)
if (here / "hang").exists():
    time.sleep(60)
shutil.copy(here / "people.json", result)
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backend that finds somebody; its folder."""
    folder = tmp_path / "backend"
    folder.mkdir()
    python = folder / "python"
    python.write_text(BACKEND)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (folder / "people.json").write_text(openpose_text((SOMEBODY,), FOUND))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"backend_command": [str(python), "-m", "x", "serve"]}))
    monkeypatch.setenv("NIJIMI_CONFIG", str(config))
    return folder


def _finder(world: World) -> tuple[PoseFinder, list[tuple[Person, ...]], list[str]]:
    finder = PoseFinder(world.canvas.room())
    found: list[tuple[Person, ...]] = []
    told: list[str] = []
    finder.found.connect(lambda _document, people: found.append(people))
    finder.refused.connect(lambda what, _do: told.append(what))
    return finder, found, told


def test_everybody_in_the_canvas_is_found(world: World, backend: Path, wait: Wait) -> None:
    finder, found, _ = _finder(world)
    finder.look_at_canvas()
    wait(lambda: bool(found))
    assert (backend / "looked_at").read_text().startswith("64 64 ")
    ((person,),) = found
    last = BODY[-1]
    assert person.body[16].x == pytest.approx(last.x * SIZE.width / FOUND.width)
    assert person.body[16].y == pytest.approx(last.y * SIZE.height / FOUND.height)
    assert person.body[17] == Joint(0, 0, 0)
    # Nothing is left behind.
    picture = Path((backend / "looked_at").read_text().split()[2])
    assert not picture.parent.exists()


def test_of_a_selection_only_that_is_looked_at(world: World, backend: Path, wait: Wait) -> None:
    area = Bounds(SIZE.width // 2, SIZE.height // 4, SIZE.width // 4, SIZE.height // 2)
    world.canvas.selection = SelectionMask(area, b"\xff" * area.extent.pixels)
    finder, found, _ = _finder(world)
    finder.look_at_canvas()
    wait(lambda: bool(found))
    assert (backend / "looked_at").read_text().startswith("16 32 ")
    ((person,),) = found
    assert person.body[0][:2] == (area.x, area.y)
    assert person.body[16].x == pytest.approx(area.x + BODY[-1].x * area.width / FOUND.width)


def test_a_picture_is_laid_over_the_canvas(
    world: World, backend: Path, tmp_path: Path, wait: Wait
) -> None:
    path = tmp_path / "photo.png"
    QtGui.QImage(*FOUND, QtGui.QImage.Format.Format_RGB32).save(str(path))
    finder, found, told = _finder(world)
    finder.look_at_file(str(path))
    wait(lambda: bool(found))
    place = fitted(FOUND, SIZE)
    assert found[0][0].body[0][:2] == (place.x, place.y)
    finder.look_at_file(str(tmp_path / "none.png"))
    assert "none.png cannot be read" in told[0]


def test_what_the_backend_says_is_told(world: World, backend: Path, wait: Wait) -> None:
    (backend / "refusal").write_text("nijimi: Nobody was found in the picture.")
    finder, found, told = _finder(world)
    finder.look_at_canvas()
    wait(lambda: told == ["Nobody was found in the picture."])
    (backend / "refusal").write_text("Traceback")
    finder.look_at_canvas()
    wait(lambda: told[1:] == ["People could not be looked for."])
    (backend / "refusal").unlink()
    (backend / "people.json").write_text("{}")
    finder.look_at_canvas()
    wait(lambda: len(told) == 3)
    assert found == []


def test_without_a_backend_here_it_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, wait: Wait
) -> None:
    monkeypatch.setenv("NIJIMI_CONFIG", "/nowhere.json")
    finder, _, told = _finder(world)
    finder.look_at_canvas()
    wait(lambda: told == ["Finding people needs a backend on this computer."])


def test_krita_does_not_wait_for_it_at_its_end(
    world: World, backend: Path, wait: Wait, application: Any
) -> None:
    (backend / "hang").touch()
    finder, found, told = _finder(world)
    finder.look_at_canvas()
    wait(lambda: (backend / "looked_at").exists())
    finder.end()
    spin(application, 100)
    assert (found, told) == ([], [])


def test_people_become_a_pose_layer(world: World, backend: Path, wait: Wait) -> None:
    world.flow.controls.pose_finder.look_at_canvas()
    wait(lambda: bool(world.canvas.people))
    assert [row.kind for row in world.controls.rows] == ["pose"]


@pytest.mark.parametrize(
    ("picture", "canvas", "place"),
    [
        (Extent(10, 10), Extent(100, 100), Bounds(0, 0, 100, 100)),
        (Extent(20, 10), Extent(100, 100), Bounds(0, 25, 100, 50)),
        (Extent(400, 800), Extent(100, 100), Bounds(25, 0, 50, 100)),
    ],
)
def test_a_picture_is_fitted_whole(picture: Extent, canvas: Extent, place: Bounds) -> None:
    assert fitted(picture, canvas) == place


def test_hands_move_along() -> None:
    person = Person(body=SOMEBODY.body, left_hand=(Joint(1, 2, 0.5),) * 21)
    moved = moved_person(person, 10, 20)
    assert moved.left_hand[0] == Joint(11, 22, 0.5)
    assert moved.body[17] == Joint(0, 0, 0)
