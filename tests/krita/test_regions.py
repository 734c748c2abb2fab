"""Regions in real Krita: words for a layer or a group, typed in the docker, live."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .session import Session

_HERE = Path(__file__).with_name("inside_regions.py")
_LAYERS = Path(__file__).with_name("inside_layers.py")
_LOOKS = Path(__file__).with_name("inside_looks.py")
_REFERENCES = Path(__file__).with_name("inside_references.py")


def _inside(session: Session, name: str, /, **arguments: Any) -> Any:
    return session.krita.call(_HERE, name, **arguments)


def _picture(session: Session) -> str:
    """Of the newest state of the canvas."""
    session.wait_for(lambda: session.nijimi("metrics")["final_revision_shown"])
    return session.krita.call(_REFERENCES, "picture")


def _type(session: Session, row_id: str, words: str) -> None:
    x, y = session.krita.call(_LOOKS, "centre", name=f"nijimi_control_{row_id}_prompt")
    session.krita.pointer.click((x, y))
    session.krita.pointer.text(words)


def test_words_count_where_their_layer_lies_and_it_stays_in_the_picture(
    session: Session, tmp_path: Path
) -> None:
    session.nijimi("set_values", seed=5, seed_locked=True, strength=1.0)
    session.inside("add_filled_layer", name="boat")
    session.go_live()
    plain = _picture(session)
    session.inside("activate", name="boat")
    assert _inside(session, "choose_from_menu", text="Region from the active layer") == ["region"]
    _type(session, "c0", "a blue boat")
    session.wait_for(lambda: _inside(session, "prompts") == ["a blue boat"])
    session.wait_for(lambda: _picture(session) != plain)
    session.step("screenshot", path=str(tmp_path / "region.png"))
    # No hint: the painter's colours are what the picture starts from.
    seen = session.inside("captured_colour", x=60, y=60)
    assert seen == {"colour": [0x10, 0x80, 0xF0, 0xFF], "hidden": False}
    assert _inside(session, "sent_coverage", row_id="c0") == 80 * 80
    assert session.inside("problems") == ""
    session.controls("update_control", row_id="c0", enabled=False)
    session.wait_for(lambda: _picture(session) == plain)


def test_a_group_is_a_region_and_follows_what_is_painted_in_it(session: Session) -> None:
    session.krita.call(_LAYERS, "add_group", name="forest", child="trees")
    session.inside("activate", name="forest")
    _inside(session, "choose_from_menu", text="Region from the active layer")
    session.go_live()
    assert session.inside("problems") == ""
    assert _inside(session, "sent_coverage", row_id="c0") == 0
    session.inside("fill_layer", name="trees", x=100, y=100, width=50, height=40)
    session.wait_for(lambda: _inside(session, "sent_coverage", row_id="c0") == 50 * 40)


def test_a_hint_is_limited_to_a_region_and_both_are_kept_in_the_file(
    session: Session, tmp_path: Path
) -> None:
    session.inside("add_filled_layer", name="boat")
    session.inside("activate", name="boat")
    _inside(session, "choose_from_menu", text="Region from the active layer")
    _type(session, "c0", "a boat")
    session.wait_for(lambda: _inside(session, "prompts") == ["a boat"])
    session.add_control("scribble", "paint")
    assert _inside(session, "open_row_menu", row_id="c1") == ["Everywhere", "boat"]
    session.controls("update_control", row_id="c1", region="c0")
    time.sleep(0.6)
    assert json.loads(session.inside("document_note"))["version"] == 2
    session.inside("reopen", path=str(tmp_path / "regions.kra"))
    session.wait_for(lambda: _inside(session, "prompts") == ["a boat", ""])
    note = json.loads(session.inside("document_note"))
    assert [row["region"] for row in note["rows"]] == ["", "c0"]
