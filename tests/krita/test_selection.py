"""A selection in real Krita: only it is repainted, and beside it no byte ever changes."""

from __future__ import annotations

import itertools
import time

import pytest

from .session import Session


def _live_on_selection(session: Session, **selection: int) -> None:
    session.inside("select", **selection)
    session.go_live()
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    session.nijimi("wait_until_shown")


@pytest.mark.parametrize("depth", ["U8", "U16"])
@pytest.mark.parametrize("feather", [0, 12])
def test_apply_changes_no_byte_beside_the_selection(
    session: Session, depth: str, feather: int
) -> None:
    session.step("close_documents")
    session.step("new_document", width=320, height=256, depth=depth)
    session.stroke([(20 + 7 * n, 60 + (n * 53) % 140) for n in range(40)])
    _live_on_selection(session, x=90, y=60, width=120, height=100, feather=feather)
    session.nijimi("set_values", live=False)
    session.inside("wait_for_rest")
    before = session.inside("flattened")
    assert before["selected"] == 320 * 256
    layers = session.nijimi("press_apply")
    session.inside("wait_for_rest")
    after = session.inside("flattened")
    assert after["outside"] == before["outside"]
    assert after["inside"] != before["inside"]
    assert [name for name in layers if name != "Selection Mask"][2:] == ["Nijimi: a red house"]
    session.inside("action", name="edit_undo")
    assert session.inside("flattened") == before


def test_only_the_selection_is_rendered_and_losing_it_pauses(session: Session) -> None:
    session.stroke()
    _live_on_selection(session, x=200, y=200, width=60, height=60)
    x, y, width, height = session.inside("picture_area")
    assert width < 512
    assert height < 512
    assert x <= 200
    assert y <= 200
    session.inside("deselect")
    session.wait_for(lambda: "Nothing is selected" in session.nijimi("status_line"))
    shown = session.inside("frames_shown")
    before = session.revision()
    session.stroke([(40 + 10 * n, 60) for n in range(20)])
    session.wait_for_new_revision(before)
    time.sleep(0.6)
    assert session.inside("frames_shown") == shown, "the whole canvas was rendered"
    session.nijimi("set_values", area="whole")
    session.wait_for(lambda: session.inside("frames_shown") > shown)
    assert not session.inside("picture_is_of_selection")
    assert not session.inside("problem")


def test_painting_in_the_selection_is_followed_live(session: Session) -> None:
    _live_on_selection(session, x=100, y=100, width=200, height=200)
    before = session.inside("frames_shown")
    session.stroke([(110 + 4 * n, 200) for n in range(40)], step_ms=20)
    report = session.nijimi("wait_until_shown")
    assert report["final_revision_shown"]
    assert session.inside("frames_shown") > before + 1
    assert session.inside("picture_is_of_selection")


def test_a_selection_without_room_for_its_mode_is_told(session: Session) -> None:
    session.inside("select", x=100, y=100, width=60, height=60)
    session.nijimi("set_values", inpaint_mode="expand")
    session.nijimi("set_values", prompt="a hill", live=True)
    session.wait_for(lambda: "nothing to expand" in session.nijimi("status_line"))
    session.nijimi("set_values", inpaint_mode="fill")
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    assert not session.inside("problem")


def test_a_selection_beside_the_canvas_is_none(session: Session) -> None:
    session.inside("select", x=-300, y=-300, width=60, height=60)
    session.go_live()
    assert not session.inside("picture_is_of_selection")
    assert not session.inside("problem")


@pytest.mark.parametrize("kind", ["selectionmask", "transparencymask"])
def test_a_mask_says_where_to_repaint_and_apply_touches_nothing_else(
    session: Session, kind: str
) -> None:
    assert (
        session.inside("add_mask", kind=kind, layer="paper", x=64, y=80, width=200, height=150)[1]
        == kind
    )
    assert session.inside("node_mask")["full"] == 200 * 150
    session.nijimi("set_values", area="layer")
    session.go_live()
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    session.inside("select", x=64, y=80, width=200, height=150)
    before = session.inside("flattened", visible_only=True)
    session.inside("deselect")
    session.nijimi("press_apply")
    session.inside("select", x=64, y=80, width=200, height=150)
    after = session.inside("flattened", visible_only=True)
    assert after["outside"] == before["outside"]
    assert after["inside"] != before["inside"]


@pytest.mark.parametrize(
    ("depth", "model"),
    [("U8", "RGBA"), ("U16", "RGBA"), ("F32", "RGBA"), ("U8", "GRAYA"), ("U8", "CMYKA")],
)
def test_a_layer_of_any_kind_is_a_mask_where_it_is_opaque(
    session: Session, depth: str, model: str
) -> None:
    session.step("close_documents")
    session.step("new_document", width=320, height=256, depth=depth, model=model)
    session.inside("activate", name="paint")
    assert session.inside("node_mask")["mask"] is None
    session.inside("fill_layer", name="paint", x=30, y=40, width=100, height=90)
    covered = session.inside("node_mask")
    assert covered["full"] == 100 * 90
    x, y, width, height = covered["mask"]
    assert (x <= 30, y <= 40, x + width >= 130, y + height >= 130) == (True,) * 4


def test_a_layer_gives_the_context_and_is_followed(session: Session) -> None:
    session.inside("fill_layer", name="paint", x=64, y=64, width=128, height=128)
    session.nijimi("set_values", inpaint_context_layer=True)
    session.inside("activate", name="paper")
    session.inside("select", x=100, y=100, width=60, height=60)
    session.go_live()
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    context = session.inside("sent_context")
    assert context is not None
    session.wait_for(lambda: session.inside("picture_area") == context)
    session.inside("deselect")
    session.inside("fill_layer", name="paint", x=300, y=64, width=128, height=128)
    session.inside("select", x=100, y=100, width=60, height=60)
    session.wait_for(lambda: session.inside("sent_context")[2] > context[2])


@pytest.mark.parametrize("way", ["lasso", "magic wand", "inverted", "two islands"])
def test_any_way_to_select_is_kept_to_the_byte(session: Session, way: str) -> None:
    session.inside("fill_layer", name="paint", x=120, y=120, width=150, height=130)
    session.inside("activate", name="paint")
    if way == "lasso":
        session.inside("action", name="KisToolSelectOutline")
        around: list[tuple[float, float]] = [
            (150, 100),
            (300, 130),
            (340, 260),
            (220, 330),
            (110, 240),
            (150, 100),
        ]
        session.krita.pointer.stroke(session.points(between(around)), step_ms=8)
    elif way == "magic wand":
        session.inside("action", name="KisToolSelectContiguous")
        session.krita.pointer.stroke(session.points([(200, 200)]), step_ms=20)
    else:
        session.inside("select", x=90, y=90, width=140, height=120)
        if way == "inverted":
            session.inside("action", name="invert_selection")
        else:
            session.inside("add_to_selection", x=400, y=400, width=60, height=50)
    session.inside("wait_for_rest")
    # A selection tool may still be at work when Krita rests already.
    session.wait_for(lambda: session.inside("selected_pixels") > 0)
    before = session.inside("flattened")
    session.go_live()
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    session.nijimi("press_apply")
    after = session.inside("flattened")
    assert after["outside"] == before["outside"]
    assert after["inside"] != before["inside"]
    session.inside("action", name="edit_undo")
    assert session.inside("flattened") == before


def between(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The way around, in steps of a tenth of each side."""
    return [
        (x + (u - x) * n / 10, y + (v - y) * n / 10)
        for (x, y), (u, v) in itertools.pairwise(corners)
        for n in range(11)
    ]
