"""A plugin with no backend: the guide installs one, proves it by a picture, and live works."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nijimi_installer.desktop.krita_process import KritaProcess
from nijimi_installer.desktop.profile import KritaProfile
from nijimi_installer.desktop.xvfb import VirtualScreen

from .session import Session

_INSIDE = Path(__file__).with_name("inside_set_up.py")

INSTALLER = f"""
import sys, time
for title in ("Copying Nijimi", "Making .venv", "Installing torch (the CPU build)"):
    print(f"==> {{title}}", flush=True)
    time.sleep(0.3)
for done in range(0, 200, 10):
    print(f"Progress {{done}}000000 of 200000000", flush=True)
    time.sleep(0.2)
print("==> Installing the other packages")
print("==> Backend: {sys.executable}")
"""
"""Says what the real one says, without its gigabytes; the backend is that of the tests."""


def _ask(session: Session, name: str, /, **arguments: Any) -> Any:
    return session.krita.call(_INSIDE, name, **arguments)


def _press(session: Session, name: str) -> None:
    session.wait_for(lambda: _ask(session, "guide_button", name=name) is not None, 60)
    x, y = _ask(session, "guide_button", name=name)
    session.krita.pointer.click((x, y))


def test_from_a_bare_plugin_to_a_live_picture(
    own_profile: KritaProfile, screen: VirtualScreen, tmp_path: Path
) -> None:
    own_profile.write(("nijimi", "nijimi_driver"))
    own_profile.nijimi_config.unlink()
    installer = own_profile.pykrita_dir / "nijimi" / "backend_source" / "installer"
    installer.mkdir(parents=True)
    (installer / "__main__.py").write_text(INSTALLER)
    with KritaProcess(own_profile, screen.display) as krita:
        session = Session(krita)
        session.step("fill_screen")
        session.nijimi("show_docker")
        session.step("new_document")
        assert "not installed yet" in session.nijimi("status_line")
        session.step("screenshot", path=str(tmp_path / "bare.png"))
        x, y = _ask(session, "set_up_button")
        krita.pointer.click((x, y))
        session.wait_for(lambda: "Where" in _ask(session, "guide_title"))
        session.wait_for(lambda: _ask(session, "guide_is_complete"), 30)
        session.step("screenshot", path=str(tmp_path / "where.png"))
        _press(session, "Next")
        session.wait_for(lambda: _ask(session, "guide_title") == "Installing")
        session.wait_for(lambda: any("/ 200 MB" in text for text in _ask(session, "guide_texts")))
        session.step("screenshot", path=str(tmp_path / "installing.png"))
        _press(session, "Next")
        session.wait_for(lambda: "paint with" in _ask(session, "guide_title"))
        session.wait_for(lambda: _ask(session, "models_are_listed"), 30)
        session.step("screenshot", path=str(tmp_path / "models.png"))
        _press(session, "Next")
        session.wait_for(lambda: _ask(session, "guide_title") == "A first picture")
        session.wait_for(lambda: "It works." in _ask(session, "guide_texts"), 120)
        assert _ask(session, "first_picture_px") == [256, 256]
        session.step("screenshot", path=str(tmp_path / "picture.png"))
        _press(session, "Finish")
        session.wait_for(lambda: _ask(session, "guide_title") == "")
        config = json.loads(own_profile.nijimi_config.read_text())
        assert config["backend_command"][0] == sys.executable
        ready = session.nijimi("wait_until_ready")
        assert not ready["problem"], ready
        session.step("choose_brush", colour=[200, 30, 30])
        session.stroke()
        assert session.nijimi("wait_until_shown")["final_revision_shown"]
        session.step("screenshot", path=str(tmp_path / "live.png"))
        assert krita.quit() == 0
