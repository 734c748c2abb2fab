"""Poses and control layers in real Krita, with the real pointer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from nijimi_backend.models.package_files import files_dir
from nijimi_protocol.geometry import Extent
from nijimi_protocol.openpose import openpose_text
from nijimi_protocol.pose import Joint, Person

from .session import Session

_LAYERS = Path(__file__).with_name("inside_layers.py")

ELBOW, RIGHT_WRIST, LEFT_WRIST = 3, 4, 7
BODY = (
    (256, 90), (256, 140), (210, 140), (195, 200), (190, 260), (302, 140), (330, 200), (350, 260),
    (228, 270), (225, 350), (222, 440), (284, 270), (287, 350), (290, 440), (248, 82), (264, 82),
    (236, 88), (276, 88),
)  # fmt: skip


def _joint(session: Session, number: int, person: int = 0) -> list[float]:
    return session.controls("joints")[person][number]


def _drag(session: Session, number: int, dx: float, dy: float, events: int = 60) -> None:
    """Take a joint with Krita's shape tool and drag it in one go."""
    session.inside("activate", name="Pose")
    session.controls("take_shape_tool")
    x, y, _ = _joint(session, number)
    way = [(x + dx * n / events, y + dy * n / events) for n in range(events + 1)]
    session.krita.pointer.stroke(session.points(way), step_ms=1000 / events)


def _limbs_fit(session: Session) -> bool:
    from nijimi_protocol.pose import LIMBS

    body, limbs = session.controls("joints")[0], session.controls("limbs")
    for number, (one, other) in enumerate(LIMBS):
        x, y, is_visible = limbs[f"P00_limb{number:02}"]
        start, end = body[one], body[other]
        if not (start[2] and end[2]):
            assert not is_visible
            continue
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        if abs(x - middle[0]) > 0.6 or abs(y - middle[1]) > 0.6:
            return False
    return True


def test_a_dragged_elbow_leads_the_picture_and_undo_brings_it_back(
    session: Session, tmp_path: Path
) -> None:
    session.go_live()
    assert session.add_person("standing") == ["Pose"]
    before = _joint(session, ELBOW)
    session.wait_for(lambda: session.nijimi("metrics")["final_revision_shown"])
    session.nijimi("reset_metrics")
    _drag(session, ELBOW, -40, -30)
    session.wait_for(lambda: session.controls("sent_people")[0][ELBOW][0] < before[0] - 35)
    session.nijimi("wait_until_shown")
    after = _joint(session, ELBOW)
    assert after[0] == pytest.approx(before[0] - 40, abs=3)
    assert after[1] == pytest.approx(before[1] - 30, abs=3)
    assert session.controls("sent_people")[0][ELBOW] == pytest.approx(after, abs=0.01)
    assert _limbs_fit(session)
    metrics = session.nijimi("metrics")
    assert metrics["frames"] >= 2, "frames came during the drag"
    session.step("screenshot", path=str(tmp_path / "dragged.png"))
    session.inside("action", name="edit_undo")
    session.wait_for(
        lambda: session.controls("sent_people")[0][ELBOW] == pytest.approx(before, abs=0.01)
    )
    assert _limbs_fit(session)


def test_a_drag_on_a_large_document_never_stops_krita(session: Session) -> None:
    session.step("close_documents")
    session.step("new_document", width=1024, height=1024)
    session.go_live()
    session.add_person("standing")
    session.nijimi("wait_until_shown")
    stalls: list[dict[str, Any]] = []
    # Test machines are shared: a pause of theirs comes once, one of ours with every drag.
    for dx in (-60, 60, -60):
        session.nijimi("reset_metrics")
        _drag(session, 4, dx, 20)
        session.nijimi("wait_until_shown")
        metrics = session.nijimi("metrics")
        stalls.append(metrics["ui_stall_by_kind_ms"])
        # A bound that two busy cores keep; what it really is, benchmarks tell.
        if metrics["ui_stall_ms"]["p99"] <= 20.0 and metrics["frames"] >= 2:
            break
    else:
        pytest.fail(f"every drag stopped Krita or had no frames: {stalls}")
    assert session.controls("sent_people")[0][4] == pytest.approx(_joint(session, 4), abs=0.01)


def _sent_hand(session: Session) -> list[float]:
    """x and y of each point of the left hand, in turn."""
    (points,) = session.controls("sent_hands")
    return [value for point in points for value in point]


def test_a_hand_of_a_file_goes_along_with_its_wrist(session: Session, tmp_path: Path) -> None:
    body = tuple(Joint(x, y) for x, y in BODY)
    wrist = body[LEFT_WRIST]
    # Five fingers of four points, spread like a fan.
    fan = [(wrist.x + (finger - 2) * 5 * n, wrist.y + 7 * n) for finger in range(5)
           for n in range(1, 5)]  # fmt: skip
    hand = (Joint(wrist.x, wrist.y), *(Joint(x, y) for x, y in fan))
    file = tmp_path / "pose.json"
    file.write_text(openpose_text((Person(body=body, left_hand=hand),), Extent(512, 512)))
    session.go_live()
    session.controls("add_pose_file", path=str(file))
    session.wait_for(lambda: bool(session.controls("sent_people")))
    began = [value for joint in hand for value in joint[:2]]
    assert _sent_hand(session) == pytest.approx(began, abs=0.1)
    _drag(session, LEFT_WRIST, 30, -40)
    session.wait_for(lambda: session.controls("sent_people")[0][LEFT_WRIST][0] > wrist.x + 25)
    session.nijimi("wait_until_shown")
    session.step("screenshot", path=str(tmp_path / "hand.png"))
    moved = [value for x, y, _ in hand for value in (x + 30, y - 40)]
    assert _sent_hand(session) == pytest.approx(moved, abs=3)
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: _sent_hand(session) == pytest.approx(began, abs=0.1))


@pytest.mark.parametrize("resolution", [72.0, 300.0])
def test_a_pose_is_found_again_in_the_saved_file(
    session: Session, tmp_path: Path, resolution: float
) -> None:
    session.step("close_documents")
    session.step("new_document", resolution=resolution)
    session.go_live()
    session.add_person("waving")
    session.controls("update_control", row_id="c0", scale=0.7)
    before = session.controls("joints")
    time.sleep(0.6)
    assert json.loads(session.inside("document_note"))["rows"][0]["scale"] == 0.7
    assert "Pose" in session.inside("reopen", path=str(tmp_path / "pose.kra"))
    session.wait_for(lambda: bool(session.controls("control_rows")))
    assert session.controls("control_rows") == [["pose", "Pose", 0.7, True]]
    for one, other in zip(before[0], session.controls("joints")[0], strict=True):
        assert one == pytest.approx(other, abs=0.05)
    session.inside("action", name="zoom_to_100pct")
    _drag(session, 7, 20, 20)
    session.wait_for(lambda: bool(session.controls("sent_people")))
    assert _limbs_fit(session)


def test_one_undo_takes_the_pose_layer_away_and_redo_brings_it_back(session: Session) -> None:
    session.go_live()
    session.add_person("standing")
    session.wait_for(lambda: bool(session.controls("sent_people")))
    session.inside("action", name="edit_undo")
    assert session.layers() == ["paper", "paint"]
    session.wait_for(lambda: "'Pose' is gone" in session.inside("problems"))
    session.inside("action", name="edit_redo")
    session.wait_for(lambda: "'Pose' is gone" not in session.inside("problems"))
    assert len(session.controls("joints")) == 1


@pytest.mark.parametrize("resolution", [72.0, 300.0])
def test_joints_are_canvas_pixels_at_any_resolution(session: Session, resolution: float) -> None:
    session.step("close_documents")
    session.step("new_document", resolution=resolution)
    session.go_live()
    session.add_person("standing")
    neck = _joint(session, 1)
    assert neck[:2] == pytest.approx([256, 256 + (20 - 68) * 2.56], abs=0.5)
    assert _limbs_fit(session)


def test_a_visible_control_layer_never_leaks_into_the_picture(session: Session) -> None:
    session.go_live()
    session.inside("fill_layer", name="paint", x=100, y=100, width=200, height=200)
    painted = session.inside("projected_colour", x=150, y=150)
    session.inside("add_filled_layer", name="lines")
    session.inside("wait_for_rest")
    covered = session.inside("projected_colour", x=60, y=60)
    assert covered == [0x10, 0x80, 0xF0, 255]
    assert session.add_control("scribble", "lines") == [["scribble", "lines", 1.0, True]]
    seen = session.inside("captured_colour", x=60, y=60)
    assert seen == {"colour": [255, 255, 255, 255], "hidden": True}
    assert session.inside("captured_colour", x=150, y=150)["colour"] == painted
    # The stroke that is being drawn is part of the picture, with the control layer in the way.
    before = session.revision()
    session.inside("activate", name="paint")
    session.inside("action", name="KritaShape/KisToolBrush")
    session.stroke([(320 + 5 * n, 400) for n in range(20)])
    session.wait_for_new_revision(before)
    assert session.inside("captured_colour", x=370, y=400)["colour"] != [255, 255, 255, 255]


def test_a_missing_network_is_named_and_the_picture_goes_on(session: Session) -> None:
    session.go_live()
    session.inside("add_filled_layer", name="depth")
    session.add_control("depth", "depth")
    session.wait_for(lambda: "no depth control" in session.nijimi("status_line"))
    before = session.inside("frames_shown")
    session.nijimi("set_values", prompt="a boat")
    session.wait_for(lambda: session.inside("frames_shown") > before)


def test_a_control_layer_that_is_deleted_says_so_and_the_rest_goes_on(session: Session) -> None:
    session.go_live()
    session.add_person("standing")
    session.wait_for(lambda: bool(session.controls("sent_people")))
    session.inside("remove_layer", name="Pose")
    session.wait_for(lambda: "'Pose' is gone" in session.inside("problems"))
    before = session.inside("frames_shown")
    session.inside("activate", name="paint")
    session.inside("action", name="KritaShape/KisToolBrush")
    session.stroke([(100 + 5 * n, 100) for n in range(20)])
    session.wait_for(lambda: session.inside("frames_shown") > before)


def test_limbs_follow_with_live_off_too(session: Session) -> None:
    session.add_person("standing")
    before = _joint(session, ELBOW)
    _drag(session, ELBOW, -30, 20, events=30)
    time.sleep(0.2)
    limbs = session.controls("limbs")
    x, y, _ = limbs["P00_limb02"]
    moved, shoulder = _joint(session, ELBOW), _joint(session, 2)
    assert moved[0] == pytest.approx(before[0] - 30, abs=3)
    assert (x, y) == pytest.approx(
        ((moved[0] + shoulder[0]) / 2, (moved[1] + shoulder[1]) / 2), abs=0.6
    )


def test_a_mirrored_person_waves_with_the_other_hand_and_one_undo_turns_it_back(
    session: Session, tmp_path: Path
) -> None:
    session.go_live()
    session.add_person("waving")
    before = session.controls("joints")[0]
    # The left wrist is the one that is up.
    assert before[LEFT_WRIST][1] < before[0][1] < before[RIGHT_WRIST][1]
    session.inside("action", name="nijimi_mirror_person")
    session.wait_for(lambda: session.controls("sent_people")[0][RIGHT_WRIST][1] < before[0][1])
    after = session.controls("joints")[0]
    assert after[LEFT_WRIST][1] > after[0][1]
    assert after[2][0] < after[5][0], "somebody who faces us has the right shoulder on our left"
    session.nijimi("wait_until_shown")
    assert _limbs_fit_unnamed(session)
    session.step("screenshot", path=str(tmp_path / "mirrored.png"))
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: _near(session.controls("sent_people")[0], before))
    assert _limbs_fit(session)
    session.inside("action", name="edit_redo")
    session.wait_for(lambda: _near(session.controls("sent_people")[0], after))


def test_a_mirrored_person_is_found_again_in_the_file(session: Session, tmp_path: Path) -> None:
    session.add_person("waving")
    before = session.controls("joints")[0]
    session.inside("action", name="nijimi_mirror_person")
    session.wait_for(lambda: session.controls("joints")[0][RIGHT_WRIST][1] < before[0][1])
    after = session.controls("joints")[0]
    session.inside("reopen", path=str(tmp_path / "mirrored.kra"))
    session.wait_for(lambda: bool(session.controls("control_rows")))
    assert _near(session.controls("joints")[0], after)


def test_a_selected_person_is_scaled_by_kritas_own_handles_in_one_step(
    session: Session, tmp_path: Path
) -> None:
    session.go_live()
    session.add_person("standing")
    before = session.controls("joints")[0]
    session.inside("action", name="nijimi_select_person")
    time.sleep(0.8)
    session.step("screenshot", path=str(tmp_path / "selected.png"))
    radius = 512 / 80
    xs, ys = [joint[0] for joint in before], [joint[1] for joint in before]
    corner = (max(xs) + radius, max(ys) + radius)
    way = [(corner[0] + 2 * n, corner[1] - 3 * n) for n in range(21)]
    session.krita.pointer.stroke(session.points(way), step_ms=20)
    session.wait_for(lambda: session.controls("sent_people")[0][13][1] < before[13][1] - 40)
    after = session.controls("joints")[0]
    heights = [[body[n][1] - body[0][1] for n in range(1, 18)] for body in (before, after)]
    parts = [new / old for old, new in zip(*heights, strict=True) if abs(old) > 60]
    assert max(parts) - min(parts) < 0.06, "everybody's parts shrink alike"
    assert parts[0] < 0.95
    session.nijimi("wait_until_shown")
    session.step("screenshot", path=str(tmp_path / "scaled.png"))
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: _near(session.controls("sent_people")[0], before))
    assert _limbs_fit(session)


def _near(one: list[list[float]], other: list[list[float]]) -> bool:
    return all(
        abs(a - b) < 0.1 for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True)
    )


def _limbs_fit_unnamed(session: Session) -> bool:
    """Every limb lies in the middle of two joints, whichever side they are of."""
    body, limbs = session.controls("joints")[0], session.controls("limbs")
    middles = [
        ((p[0] + q[0]) / 2, (p[1] + q[1]) / 2) for n, p in enumerate(body) for q in body[n + 1 :]
    ]
    return all(
        any(abs(x - mx) < 0.6 and abs(y - my) < 0.6 for mx, my in middles)
        for x, y, is_visible in limbs.values()
        if is_visible
    )


def test_people_in_a_photograph_become_a_pose_to_edit(session: Session, tmp_path: Path) -> None:
    """Found by the networks themselves, as layers that undo knows of."""
    skimage = pytest.importorskip("skimage", reason="it has the photograph")
    pytest.importorskip("ai_edge_litert", reason="it runs the networks")
    if not (files_dir("blazepose") / "pose_detection.tflite").is_file():
        pytest.skip("the weights are not here: nijimi models fetch blazepose")
    photograph = Path(skimage.__file__).parent / "data" / "astronaut.png"
    session.step("close_documents")
    session.krita.call(_LAYERS, "open_picture", path=str(photograph))
    session.inside("action", name="nijimi_find_people")
    session.wait_for(lambda: session.controls("control_rows") != [])
    nose, wrist = _joint(session, 0), _joint(session, LEFT_WRIST)
    assert abs(nose[0] - 222.7) < 12
    assert abs(nose[1] - 128.0) < 12
    assert not wrist[2], "it is outside of the picture"
    session.inside("wait_for_rest")
    session.step("screenshot", path=str(tmp_path / "found.png"))
    # Of a part, in the canvas's own places; undo takes that person away.
    session.inside("select", x=60, y=20, width=400, height=480)
    session.inside("action", name="nijimi_find_people")
    session.wait_for(lambda: len(session.controls("joints")) == 2)
    again = _joint(session, 0, person=1)
    assert abs(again[0] - nose[0]) < 16
    assert abs(again[1] - nose[1]) < 16
    session.inside("wait_for_rest")
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: len(session.controls("joints")) == 1)
