"""Where an applied picture goes in real Krita: to the place of a new layer of Krita's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .session import Session

_HERE = Path(__file__).with_name("inside_layers.py")
_APPLIED = "Nijimi: a red house"


@pytest.mark.parametrize(
    ("chosen", "state", "place"),
    [
        ("group", {}, ["group", 1]),
        ("group", {"collapsed": True}, ["", 3]),
        ("group", {"locked": True}, ["", 3]),
        ("child", {}, ["group", 1]),
        ("child", {"locked": True}, ["", 3]),
        ("paper", {}, ["", 1]),
    ],
    ids=["open group", "folded group", "locked group", "in a group", "in a locked one", "a layer"],
)
def test_a_picture_goes_where_krita_puts_a_new_layer(
    session: Session, chosen: str, state: dict[str, bool], place: list[object]
) -> None:
    krita = session.krita
    krita.call(_HERE, "add_group", name="group", child="child")
    session.go_live()
    before = session.inside("layer_names")
    assert krita.call(_HERE, "choose", name=chosen, **state) == chosen
    session.nijimi("wait_until_shown")
    session.inside("action", name="nijimi_apply")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) == place)
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) == [])
    assert session.inside("layer_names") == before


@pytest.mark.parametrize("depth", ["U8", "U16"])
def test_with_a_mask_the_same_is_seen_and_all_of_the_picture_is_there(
    session: Session, tmp_path: Path, depth: str
) -> None:
    krita = session.krita
    session.step("close_documents")
    session.step("new_document", width=320, height=256, depth=depth)
    session.stroke([(20 + 7 * n, 60 + (n * 53) % 140) for n in range(40)])
    session.inside("select", x=90, y=60, width=120, height=100, feather=12)
    session.go_live()
    session.wait_for(lambda: session.inside("picture_is_of_selection"))
    session.nijimi("wait_until_shown")
    session.nijimi("set_values", live=False)
    session.inside("wait_for_rest")
    before = session.inside("flattened")
    session.inside("action", name="nijimi_apply_mask")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    session.inside("wait_for_rest")
    session.step("screenshot", path=str(tmp_path / "mask.png"))
    masked = session.inside("flattened")
    assert masked["outside"] == before["outside"]
    assert masked["inside"] != before["inside"]
    told = krita.call(_HERE, "mask_of_layer", name=_APPLIED)
    assert told["types"] == ["transparencymask"]
    assert told["least_alpha"] == 255, "what the mask hides is not there"
    # One step of undo and of redo.
    session.inside("action", name="edit_undo")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) == [])
    assert session.inside("flattened") == before
    session.inside("action", name="edit_redo")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    session.inside("wait_for_rest")
    assert session.inside("flattened") == masked
    seen = krita.call(_HERE, "samples")
    session.inside("action", name="edit_undo")
    session.inside("wait_for_rest")
    session.inside("action", name="nijimi_apply")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    session.inside("wait_for_rest")
    plain = session.inside("flattened")
    assert plain["outside"] == masked["outside"]
    # The mask multiplies in Krita's own rounding.
    most = 2 if depth == "U8" else 2 * 257
    pairs = zip(seen, krita.call(_HERE, "samples"), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= most


def test_with_a_mask_a_whole_picture_is_cut_to_what_is_selected_then(session: Session) -> None:
    krita = session.krita
    session.nijimi("set_values", area="whole")
    session.go_live()
    session.inside("select", x=100, y=80, width=60, height=40)
    session.inside("action", name="nijimi_apply_mask")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    session.inside("wait_for_rest")
    told = krita.call(_HERE, "mask_of_layer", name=_APPLIED)
    assert told["seen"] == [100, 80, 60, 40]
    # The mask is a painter's like any other: a brush brings back what it hides.
    krita.call(_HERE, "choose_mask", name=_APPLIED)
    session.inside("deselect")
    session.step("choose_brush", colour=[255, 255, 255])
    session.stroke([(300 + n, 300) for n in range(0, 60, 5)])
    x, y, width, height = krita.call(_HERE, "mask_of_layer", name=_APPLIED)["seen"]
    assert x + width > 340
    assert y + height > 295


@pytest.mark.parametrize("depth", ["U8", "U16"])
def test_a_picture_takes_the_place_of_the_last_one_in_one_step(
    session: Session, tmp_path: Path, depth: str
) -> None:
    krita = session.krita
    session.step("close_documents")
    session.step("new_document", width=320, height=256, depth=depth)
    session.go_live()
    session.inside("action", name="nijimi_apply")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    (before,) = krita.call(_HERE, "give_looks", name=_APPLIED, new_name="my house")
    session.nijimi("wait_until_shown")
    session.nijimi("set_values", live=False)
    flat = session.inside("flattened")

    session.nijimi("set_values", seed=77, live=True)
    session.nijimi("wait_until_shown")
    session.nijimi("set_values", live=False)
    session.inside("action", name="nijimi_apply_replacing")
    session.wait_for(lambda: krita.call(_HERE, "looks_of", name="my house")[0] != before)
    session.inside("wait_for_rest")
    session.step("screenshot", path=str(tmp_path / "replaced.png"))
    (after,) = krita.call(_HERE, "looks_of", name="my house")
    assert after["id"] != before["id"]
    assert after["pixels"] != before["pixels"]
    for kept in ("looks", "masks", "place"):
        assert after[kept] == before[kept], kept
    replaced = session.inside("flattened")
    assert replaced != flat

    for _ in range(2):
        krita.pointer.key("ctrl+z")
        session.wait_for(lambda: krita.call(_HERE, "looks_of", name="my house") == [before])
        session.inside("wait_for_rest")
        assert session.inside("flattened") == flat
        krita.pointer.key("ctrl+shift+z")
        session.wait_for(lambda: krita.call(_HERE, "looks_of", name="my house") == [after])
        session.inside("wait_for_rest")
        assert session.inside("flattened") == replaced

    # A locked layer is the painter's: then the picture becomes one of its own.
    krita.call(_HERE, "lock", name="my house")
    session.inside("action", name="nijimi_apply_replacing")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    assert krita.call(_HERE, "looks_of", name="my house")[0]["id"] == after["id"]


def test_a_layer_whose_clones_might_lose_it_stays(session: Session) -> None:
    """Krita 5.1 does not tell what a clone is a clone of; a newer one lets it go over."""
    krita = session.krita
    session.go_live()
    session.inside("action", name="nijimi_apply")
    session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
    (before,) = krita.call(_HERE, "give_looks", name=_APPLIED, new_name="my house")
    source = krita.call(_HERE, "add_clone", name="clone", of="my house")
    session.nijimi("wait_until_shown")
    session.nijimi("set_values", live=False)
    session.inside("action", name="nijimi_apply_replacing")
    if source is None:
        session.wait_for(lambda: krita.call(_HERE, "place_of", name=_APPLIED) != [])
        assert krita.call(_HERE, "looks_of", name="my house") == [before]
        return
    session.wait_for(lambda: krita.call(_HERE, "looks_of", name="my house")[0] != before)
    (after,) = krita.call(_HERE, "looks_of", name="my house")
    assert krita.call(_HERE, "source_of", name="clone") == after["id"]
    krita.pointer.key("ctrl+z")
    session.wait_for(lambda: krita.call(_HERE, "looks_of", name="my house") == [before])
    assert krita.call(_HERE, "source_of", name="clone") == before["id"]
