"""Start, end and sudden death in real Krita: nothing of ours stays behind."""

from __future__ import annotations

import os
import time

from nijimi_installer.desktop.krita_process import KritaProcess
from nijimi_installer.desktop.profile import KritaProfile
from nijimi_installer.desktop.xvfb import VirtualScreen

from tests.support.processes import is_alive

from .session import STROKE, Session


def _wait_for_death(pid: int, timeout_s: float = 8.0) -> bool:
    end = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return not is_alive(pid)


def test_krita_ends_cleanly_and_takes_the_backend_along(
    own_profile: KritaProfile, screen: VirtualScreen
) -> None:
    with KritaProcess(own_profile, screen.display) as krita:
        session = Session(krita)
        session.reset()
        session.go_live()
        session.stroke()
        backend = session.nijimi("backend_pid")
        assert is_alive(backend)
        assert krita.quit() == 0
        assert "Traceback" not in krita.log_path.read_text(errors="replace")
    assert _wait_for_death(backend)


def test_the_backend_ends_when_krita_is_killed(
    own_profile: KritaProfile, screen: VirtualScreen
) -> None:
    with KritaProcess(own_profile, screen.display) as krita:
        session = Session(krita)
        session.reset()
        session.go_live()
        backend = session.nijimi("backend_pid")
        krita.kill()
    assert _wait_for_death(backend)


def test_the_same_stroke_without_the_plugin_leaves_the_same_ink(
    own_profile: KritaProfile, screen: VirtualScreen
) -> None:
    inked: dict[bool, object] = {}
    for with_plugin in (False, True):
        own_profile.write(("nijimi", "nijimi_driver") if with_plugin else ("nijimi_driver",))
        with KritaProcess(own_profile, screen.display) as krita:
            session = Session(krita)
            session.step("fill_screen")
            session.step("new_document")
            session.step("choose_brush", colour=[200, 30, 30])
            if with_plugin:
                session.nijimi("set_values", num_inference_steps=1)
                session.go_live()
            krita.pointer.stroke(session.points(STROKE), step_ms=8)
            time.sleep(1.0)
            inked[with_plugin] = session.step("layer_bytes", name="paint")
            assert krita.quit() == 0
    assert inked[True] == inked[False]
    assert os.environ.get("DISPLAY") != screen.display
