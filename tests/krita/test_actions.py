"""Actions in real Krita: in its menu, in its shortcut editor's file, and by a real key."""

from __future__ import annotations

import time
from pathlib import Path

from nijimi_installer.desktop.profile import KritaProfile

from .session import Session

_ACTIONS = Path(__file__).with_name("inside_actions.py")
_REPORT = Path(__file__).with_name("inside_report.py")


def test_actions_are_in_the_menu_and_do_what_they_say(session: Session) -> None:
    titles = session.inside("menu_titles")
    assert len(titles) >= 15
    assert "Live On or Off" in titles
    session.inside("action", name="nijimi_live")
    ready = session.nijimi("wait_until_ready")
    assert not ready["problem"], ready
    session.stroke()
    session.nijimi("wait_until_shown")
    layers = session.layers()
    session.inside("action", name="nijimi_apply")
    session.wait_for(lambda: len(session.layers()) == len(layers) + 1)
    before = session.inside("setting", name="strength")
    session.inside("action", name="nijimi_stronger")
    assert session.inside("setting", name="strength") == round(before + 0.05, 2)
    session.inside("action", name="nijimi_live")
    assert session.inside("setting", name="live") is False


def test_the_shortcut_editor_knows_them(session: Session, profile: KritaProfile) -> None:
    assert (profile.data_dir / "krita" / "actions" / "nijimi.action").is_file()
    # Krita reads texts and tips of its own actions from such files only.
    assert "variation" in session.krita.call(_ACTIONS, "action_tip", name="nijimi_new_seed")


def test_the_colours_of_segments_are_a_palette_of_kritas(session: Session) -> None:
    assert session.krita.call(_ACTIONS, "palette", name="Nijimi segments") == 150


def test_a_key_that_the_painter_gave_works_while_painting(session: Session) -> None:
    session.krita.call(_ACTIONS, "give_key", name="nijimi_weaker", key="Ctrl+Alt+Shift+F9")
    before = session.inside("setting", name="strength")
    session.stroke()
    session.krita.pointer.key("ctrl+alt+shift+F9")
    end = time.monotonic() + 15
    while session.inside("setting", name="strength") == before:
        assert time.monotonic() < end, "the key did nothing"
        time.sleep(0.1)
    assert session.inside("setting", name="strength") == round(before - 0.05, 2)


def test_a_report_to_hand_on_is_shown_and_copied(session: Session, tmp_path: Path) -> None:
    session.nijimi("set_values", prompt="my secret garden")
    session.inside("action", name="nijimi_report")
    session.wait_for(
        lambda: "What the doctor found" in session.krita.call(_REPORT, "report_text"), 60
    )
    session.step("screenshot", path=str(tmp_path / "report.png"))
    x, y = session.krita.call(_REPORT, "report_button", name="nijimi_report_copy")
    session.krita.pointer.click((x, y))
    session.wait_for(
        lambda: "What the doctor found" in session.krita.call(_REPORT, "clipboard_text")
    )
    copied = session.krita.call(_REPORT, "clipboard_text")
    assert copied.startswith("Nijimi's plugin: ")
    assert "Krita: 5" in copied
    assert "torch: 2.13" in copied
    assert "garden" not in copied
    assert str(Path.home()) not in copied
    x, y = session.krita.call(_REPORT, "report_button", name="nijimi_report_close")
    session.krita.pointer.click((x, y))
    session.wait_for(lambda: session.krita.call(_REPORT, "report_text") == "")
