"""Live painting in real Krita: what is painted becomes a picture, and nothing is harmed."""

from __future__ import annotations

import time

import pytest

from .session import STROKE, Session


def _ink_of_a_stroke(session: Session) -> dict[str, object]:
    session.stroke(STROKE, step_ms=8)
    return session.step("layer_bytes", name="paint")


def test_no_ink_is_lost_with_live_mode_on(session: Session) -> None:
    quiet = _ink_of_a_stroke(session)
    session.reset()
    session.go_live()
    live = _ink_of_a_stroke(session)
    assert session.inside("frames_shown") > 0
    assert int(str(quiet["inked"])) > 3000
    assert live == quiet


def test_pictures_come_while_the_pen_is_down(session: Session) -> None:
    session.go_live()
    pointer = session.krita.pointer
    path = session.points([(60 + 4 * n, 250) for n in range(90)])
    pointer.press(path[0])
    try:
        for point in path[1:]:
            pointer.move(point)
            time.sleep(0.02)
        shown = session.inside("frames_shown")
    finally:
        pointer.release()
    assert shown >= 2


def test_the_last_stroke_is_shown_when_the_pen_rests(session: Session) -> None:
    session.go_live()
    for row in range(3):
        session.stroke([(40 + 10 * n, 100 + 80 * row) for n in range(30)], step_ms=6)
    report = session.nijimi("wait_until_shown")
    assert report["final_revision_shown"]
    assert report["last_revision_shown"] == session.revision()
    assert session.nijimi("preview_is_shown") == [256, 256]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.inside("action", name="edit_undo"),
        lambda s: s.inside("select_and_fill", x=20, y=20, width=90, height=90),
        lambda s: s.inside("toggle_visibility", name="paint"),
        lambda s: s.inside("apply_filter", name="invert", layer="paint"),
        lambda s: s.inside("action", name="mirrorNodeX"),
        lambda s: s.inside("set_opacity", name="paint", opacity=90),
        lambda s: s.inside("remove_layer", name="paint"),
        lambda s: s.inside("add_filled_layer", name="more"),
    ],
    ids=[
        "undo",
        "fill",
        "layer hidden",
        "filter",
        "transform",
        "opacity",
        "layer removed",
        "layer added",
    ],
)
def test_every_kind_of_change_is_noticed(session: Session, change: object) -> None:
    session.stroke()
    session.go_live()
    before = session.revision()
    assert callable(change)
    change(session)
    session.wait_for_new_revision(before)


def test_undo_and_redo_are_noticed(session: Session) -> None:
    session.stroke()
    session.go_live()
    before = session.revision()
    session.inside("action", name="edit_undo")
    undone = session.wait_for_new_revision(before)
    session.inside("action", name="edit_redo")
    session.wait_for_new_revision(undone)


def test_cut_and_paste_are_noticed(session: Session) -> None:
    session.stroke()
    session.go_live()
    session.inside("action", name="select_all")
    before = session.revision()
    session.inside("action", name="edit_cut")
    cut = session.wait_for_new_revision(before)
    session.inside("action", name="edit_paste")
    session.wait_for_new_revision(cut)


def test_nothing_is_sent_while_nothing_changes(session: Session) -> None:
    session.go_live()
    before = session.inside("settle")
    assert session.inside("settle") == before


def test_apply_is_one_undo_step_and_touches_no_other_layer(session: Session) -> None:
    session.stroke()
    session.go_live()
    paint, paper = (session.step("layer_bytes", name=name) for name in ("paint", "paper"))
    layers = session.nijimi("press_apply")
    assert len(layers) == 3
    assert layers[-1].startswith("Nijimi: ")
    applied = session.step("layer_bytes", name=layers[-1])
    assert applied["inked"] == 512 * 512
    assert session.step("layer_bytes", name="paint") == paint
    assert session.step("layer_bytes", name="paper") == paper
    session.inside("action", name="edit_undo")
    assert session.layers() == ["paper", "paint"]
    assert session.step("layer_bytes", name="paint") == paint
    session.inside("action", name="edit_redo")
    assert session.layers() == layers
    assert session.step("layer_bytes", name=layers[-1]) == applied
    session.inside("action", name="edit_undo")
    session.inside("action", name="edit_undo")
    assert session.step("layer_bytes", name="paint")["inked"] == 0


def test_another_document_in_front_is_the_one_that_is_rendered(session: Session) -> None:
    session.go_live()
    assert session.inside("mirrored_canvas") == [512, 512]
    session.inside("open_second_document")
    session.nijimi("wait_until_shown")
    assert session.inside("mirrored_canvas") == [300, 200]
    wide, high = session.inside("picture_extent")
    assert wide > high
    assert session.overlay("picture_is_over_the_canvas_in_front")
    assert session.inside("show_document", width=512) == 512
    session.nijimi("wait_until_shown")
    assert session.inside("mirrored_canvas") == [512, 512]
    assert session.overlay("picture_is_over_the_canvas_in_front")


def test_closing_a_document_mid_frame_harms_nothing(session: Session) -> None:
    session.go_live()
    session.krita.pointer.stroke(session.points(STROKE), step_ms=4)
    assert session.inside("close_active_document") == 0
    session.wait_for(lambda: "document" in session.nijimi("status_line"))
    assert session.krita.is_running
    session.step("new_document")
    report = session.nijimi("wait_until_shown")
    assert report["final_revision_shown"]


def test_a_document_closed_under_the_pen_is_noticed(session: Session) -> None:
    session.go_live()
    pointer = session.krita.pointer
    path = session.points(STROKE)
    pointer.press(path[0])
    try:
        for point in path[1:20]:
            pointer.move(point)
        assert session.inside("close_active_document") == 0
    finally:
        pointer.release()
    session.wait_for(lambda: "document" in session.nijimi("status_line"))
    session.step("new_document")
    assert session.nijimi("wait_until_shown")["final_revision_shown"]


def test_a_killed_backend_comes_back_with_the_whole_state(session: Session) -> None:
    session.go_live()
    session.krita.pointer.stroke(session.points(STROKE), step_ms=4)
    old = session.inside("kill_backend")
    time.sleep(0.5)
    session.nijimi("wait_until_ready")
    report = session.nijimi("wait_until_shown")
    assert report["final_revision_shown"]
    assert not report["problem"]
    assert session.nijimi("backend_pid") not in (0, old)
    assert session.inside("mirrored_canvas") == [512, 512]
    assert session.step("layer_bytes", name="paint")["inked"] > 3000


def test_the_preview_layer_is_written_at_rest_and_does_not_feed_back(session: Session) -> None:
    session.stroke()
    ink = session.step("layer_bytes", name="paint")
    session.go_live()
    session.nijimi("set_values", show_on_canvas="layer", overlay_opacity=1.0)
    deadline = time.monotonic() + 15
    while "Nijimi preview" not in session.layers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert session.layers()[-1] == "Nijimi preview"
    before = session.inside("settle")
    assert session.inside("settle") == before
    assert session.step("layer_bytes", name="paint") == ink
    session.nijimi("set_values", show_on_canvas="overlay")
    session.inside("wait_for_rest")
    assert session.layers() == ["paper", "paint"]


@pytest.mark.parametrize(
    ("depth", "model"), [("U16", "RGBA"), ("F32", "RGBA"), ("U8", "GRAYA"), ("U8", "CMYKA")]
)
def test_documents_of_other_kinds_are_rendered_and_applied_to(
    session: Session, depth: str, model: str
) -> None:
    session.step("close_documents")
    session.step("new_document", width=320, height=256, depth=depth, model=model)
    session.go_live()
    before = session.revision()
    session.stroke([(40 + 8 * n, 120) for n in range(25)])
    session.wait_for_new_revision(before)
    session.nijimi("wait_until_shown")
    layers = session.nijimi("press_apply")
    assert len(layers) == 3
    assert session.inside("colour_at", layer=layers[-1], x=100, y=100)[3] == 255


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"prompt": "a" * 10_000}, "10000 characters"),
        ({"strength": float("nan")}, "strength"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_bad_input_gives_a_sentence_and_live_goes_on(
    session: Session, values: dict[str, object], word: str
) -> None:
    session.go_live()
    session.nijimi("set_values", **values)
    deadline = time.monotonic() + 10
    while word not in session.nijimi("status_line") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert word in session.nijimi("status_line")
    session.nijimi("set_values", prompt="a boat", strength=0.5, model="")
    before = session.revision()
    session.stroke()
    session.wait_for_new_revision(before)
    report = session.nijimi("wait_until_shown")
    assert not report["problem"]


def test_a_huge_document_gives_a_sentence_and_no_standstill(session: Session) -> None:
    session.go_live()
    opened = session.inside("open_second_document", width=20000, height=20000)
    assert opened["width"] == 20000
    session.wait_for(lambda: "20000" in session.inside("problem"))
    assert "20000" in session.nijimi("status_line")
    turns = sorted(session.inside("turn_of_the_watcher_ms") for _ in range(5))
    assert turns[2] < 100, turns
    assert session.inside("show_document", width=512) == 512
    session.nijimi("wait_until_shown")
    assert not session.inside("problem")
    session.inside("show_document", width=20000)
    assert session.inside("close_active_document") == 1
    before = session.revision()
    session.stroke()
    session.wait_for_new_revision(before)


def test_the_preview_layer_does_not_stay_the_active_one(session: Session) -> None:
    """Krita makes the new layer the active one, as for every layer that is added by hand."""
    session.stroke()
    session.go_live()
    layers = session.nijimi("press_apply")
    assert session.inside("active_layer") == layers[-1]
    session.nijimi("set_values", show_on_canvas="layer")
    session.wait_for(lambda: "Nijimi preview" in session.layers())
    session.wait_for(lambda: session.inside("active_layer") == layers[-1])
    session.nijimi("set_values", live=False)
    session.wait_for(lambda: "Nijimi preview" not in session.layers())
    assert session.layers() == layers


@pytest.mark.parametrize(
    "view",
    [
        {"zoom": 1.0},
        {"zoom": 0.5},
        {"zoom": 1.7},
        {"zoom": 1.0, "rotation": 30.0},
        {"zoom": 0.8, "mirror": True},
        {"zoom": 1.2, "rotation": -75.0, "mirror": True},
        {"zoom": 1.3, "pan": [60, -40]},
    ],
    ids=str,
)
def test_the_overlay_lies_exactly_over_the_document(
    session: Session, view: dict[str, object]
) -> None:
    session.overlay("quadrants")
    seen = session.overlay("overlay_agreement", **view)
    assert seen["inside"] > 500
    assert seen["outside"] > 500
    # Points on an edge between two colours are blended differently: a thin line of them.
    assert seen["wrong"] < 0.02 * (seen["inside"] + seen["outside"])


def test_where_the_pen_is_is_known_in_document_pixels(session: Session) -> None:
    session.go_live()
    session.krita.pointer.stroke(session.points([(100, 150), (180, 150), (180, 260)]), step_ms=12)
    trail = session.overlay("pen_trail")
    for x, y in ((180, 150), (180, 260)):
        # What is nearer than 24 px to the place before counts as that.
        assert min(abs(x - a) + abs(y - b) for a, b in trail) < 26, trail
    time.sleep(0.4)
    assert session.overlay("pen_trail") == []


@pytest.mark.parametrize("resolution", [100.0, 300.0])
def test_the_overlay_fits_documents_of_any_resolution(session: Session, resolution: float) -> None:
    session.step("close_documents")
    session.step("new_document", width=400, height=300, resolution=resolution)
    session.overlay("quadrants")
    seen = session.overlay("overlay_agreement", zoom=1.0)
    assert seen["inside"] > 500
    assert seen["outside"] > 500
    assert seen["wrong"] < 0.02 * (seen["inside"] + seen["outside"])
