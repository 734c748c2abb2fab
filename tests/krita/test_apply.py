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
