"""The docker in real Krita: languages, themes, scales, and a painter's first minute.

Screenshots are kept in the tests' folder for those who want to look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nijimi_installer.desktop.krita_process import KritaProcess
from nijimi_installer.desktop.profile import KritaProfile
from nijimi_installer.desktop.xvfb import VirtualScreen

from .session import STROKE, Session

_HERE = Path(__file__).with_name("inside_looks.py")


class _Looks(Session):
    """A Krita of its own whose logical pixels are ``scale`` of the screen's."""

    def __init__(self, krita: KritaProcess, scale: int) -> None:
        super().__init__(krita)
        self.scale = scale

    def look(self, name: str, /, **arguments: Any) -> Any:
        return self.krita.call(_HERE, name, **arguments)

    def points(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        # The document's pixels stay the screen's, however large Krita's own letters are.
        origin = self.step("canvas_origin")
        left = self.scale * (origin["x"] - origin["scroll_x"])
        top = self.scale * (origin["y"] - origin["scroll_y"])
        return [(left + x, top + y) for x, y in points]

    def click(self, widget: str) -> None:
        x, y = self.look("centre", name=f"nijimi_{widget}")
        self.krita.pointer.click((self.scale * x, self.scale * y))


@pytest.mark.parametrize(
    ("language", "theme", "scale"),
    [("ja", "Krita bright", 1), ("en", "Krita dark", 2), ("ja", "Krita bright", 2)],
)
def test_the_docker_is_whole_in_every_language_theme_and_scale(
    own_profile: KritaProfile, tmp_path: Path, language: str, theme: str, scale: int
) -> None:
    own_profile.write(("nijimi", "nijimi_driver"))
    kritarc = own_profile.config_dir / "kritarc"
    kritarc.write_text(kritarc.read_text().replace("Krita dark", theme))
    name = f"{language}-{theme.split()[-1]}-{scale}00.png"
    with (
        VirtualScreen(1600 * scale, 1000 * scale) as screen,
        KritaProcess(
            own_profile, screen.display, NIJIMI_LANGUAGE=language, QT_SCALE_FACTOR=str(scale)
        ) as krita,
    ):
        painter = _Looks(krita, scale)
        painter.step("fill_screen")
        painter.nijimi("show_docker")
        painter.step("new_document")
        painter.overlay("quadrants")
        for view in ({"zoom": 1.0}, {"zoom": 0.6, "rotation": 30.0, "mirror": True}):
            seen = painter.overlay("overlay_agreement", **view)
            assert min(seen["inside"], seen["outside"]) > 500
            assert seen["wrong"] < 0.02 * (seen["inside"] + seen["outside"]), (view, seen)
        painter.step("close_documents")
        painter.step("new_document")
        painter.step("choose_brush", colour=[200, 30, 30])
        painter.nijimi("set_values", prompt="a red house")
        painter.click("live")
        painter.nijimi("wait_until_ready")
        painter.stroke(STROKE)
        assert painter.nijimi("wait_until_shown")["final_revision_shown"]
        painter.click("more")
        painter.wait_for(lambda: "Custom" not in painter.look("cut_texts"))
        painter.step("screenshot", path=str(tmp_path / name))
        assert painter.look("cut_texts") == []
        painter.inside("action", name="nijimi_set_up")
        painter.wait_for(lambda: painter.look("guide_title") != "")
        assert ("画像をどこで" in painter.look("guide_title")) == (language == "ja")
        painter.step("screenshot", path=str(tmp_path / f"guide-{name}"))
        assert painter.look("cut_texts", of_guide=True) == []
        assert painter.look("close_guide")
        assert painter.look("scale") == scale
        assert ("ライブ" in painter.look("button_texts")) == (language == "ja")
        background, text = painter.look("palette")
        icon = painter.look("icon_lightness", name="nijimi_dice")
        assert abs(background - text) > 100
        assert (background > 128) == (theme == "Krita bright")
        assert abs(background - icon) > 60, "an icon of the other theme is hard to see"
        assert min(painter.look("preview_pixels")) >= 100 * scale
        assert painter.step("layer_bytes", name="paint")["inked"] > 3000
        assert krita.quit() == 0


def test_the_first_picture_takes_three_clicks_and_a_prompt(
    own_profile: KritaProfile, tmp_path: Path
) -> None:
    own_profile.write(("nijimi", "nijimi_driver"))
    # As after installing: nothing that another test has set.
    (own_profile.nijimi_config.parent / "docker.json").unlink(missing_ok=True)
    with (
        VirtualScreen() as screen,
        KritaProcess(own_profile, screen.display) as krita,
    ):
        painter = _Looks(krita, 1)
        painter.step("fill_screen")
        assert painter.look("docker_is_in_front")
        painter.step("screenshot", path=str(tmp_path / "start.png"))
        clicks = 0
        krita.pointer.key("ctrl+n")
        painter.wait_for(lambda: painter.look("dialog") != "")
        krita.pointer.key("Return")
        painter.wait_for(lambda: painter.look("documents") == 1)
        painter.click("prompt")
        clicks += 1
        krita.pointer.text("a red house by the sea")
        painter.click("live")
        clicks += 1
        report = painter.nijimi("wait_until_shown")
        painter.step("screenshot", path=str(tmp_path / "first-picture.png"))
        assert report["final_revision_shown"]
        assert painter.inside("setting", name="prompt") == "a red house by the sea"
        assert clicks <= 3
        assert krita.quit() == 0
