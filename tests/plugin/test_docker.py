"""The docker: what is typed and moved becomes settings, and what happens is told in words."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from nijimi.model.controls import Controls
from nijimi.model.live_state import RETRY, SET_UP, LiveState
from nijimi.model.picture import APPLY_MASKED, APPLY_NEW, APPLY_REPLACING, Picture
from nijimi.model.settings import Settings
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.docker import DockerPanel
from nijimi.ui.preview import Preview
from nijimi.ui.preview_view import PreviewPanel
from nijimi.ui.scroll import ScrollPanel
from nijimi_protocol.geometry import Extent
from nijimi_protocol.inpaint import InitialFill, InpaintMode


@pytest.fixture
def panel(application: Any) -> DockerPanel:
    settings, state, controls = Settings(), LiveState(), Controls()
    panel = DockerPanel(settings, state, controls, lambda _name: QtGui.QIcon(), ("standing",))
    panel.test_settings, panel.test_state, panel.test_controls = settings, state, controls
    return panel


def _child(panel: DockerPanel, name: str) -> Any:
    found = panel.findChild(QtWidgets.QWidget, f"nijimi_{name}")
    assert found is not None, name
    return found


def test_typing_sets_the_prompt_after_a_pause(
    panel: DockerPanel, wait: Callable[..., None]
) -> None:
    _child(panel, "prompt").setPlainText("a red house")
    assert panel.test_settings.get("prompt") == ""
    wait(lambda: panel.test_settings.get("prompt") == "a red house", 3)


def test_sliders_and_fields_set_their_values(panel: DockerPanel) -> None:
    _child(panel, "strength").setValue(35)
    _child(panel, "steps").setValue(3)
    seed = _child(panel, "seed")
    seed.setText("4294967299")
    seed.editingFinished.emit()
    settings = panel.test_settings
    assert settings.get("strength") == 0.35
    assert settings.get("num_inference_steps") == 3
    assert settings.get("seed") == 2**32 - 1
    _child(panel, "dice").click()
    assert _child(panel, "seed").text() == str(settings.get("seed"))


def test_settings_changed_elsewhere_are_seen_in_the_docker(panel: DockerPanel) -> None:
    panel.test_settings.set("live", True)
    panel.test_settings.set("prompt", "a boat")
    panel.test_settings.set("strength", float("nan"))
    assert _child(panel, "live").isChecked()
    assert _child(panel, "prompt").toPlainText() == "a boat"


def test_apply_needs_a_picture(panel: DockerPanel) -> None:
    clicks: list[str] = []
    panel.apply_clicked.connect(clicks.append)
    button = _child(panel, "apply")
    button.click()
    assert clicks == []
    panel.test_state.update(has_picture=True)
    button.click()
    assert clicks == [APPLY_NEW]
    _child(panel, "apply_mask").click()
    _child(panel, "apply_replacing").click()
    assert clicks == [APPLY_NEW, APPLY_MASKED, APPLY_REPLACING]


def test_an_unlocked_seed_changes_with_apply(panel: DockerPanel) -> None:
    panel.test_state.update(has_picture=True)
    before = panel.test_settings.get("seed")
    _child(panel, "apply").click()
    assert panel.test_settings.get("seed") == before
    _child(panel, "seed_lock").click()
    _child(panel, "apply").click()
    assert panel.test_settings.get("seed") != before


def test_a_problem_is_told_and_can_be_retried(panel: DockerPanel) -> None:
    clicks: list[bool] = []
    panel.retry_clicked.connect(lambda: clicks.append(True))
    panel.test_state.tell("link", "The backend ended.", "Press Retry.", RETRY)
    assert _child(panel, "status").text() == "The backend ended. Press Retry."
    retry = _child(panel, "retry")
    assert not retry.isHidden()
    retry.click()
    assert clicks == [True]
    assert _child(panel, "set_up").isHidden()
    panel.test_state.forget("link")
    assert retry.isHidden()


def test_where_nothing_is_installed_the_set_up_is_one_press_away(panel: DockerPanel) -> None:
    clicks: list[bool] = []
    panel.set_up_clicked.connect(lambda: clicks.append(True))
    panel.test_state.tell("link", "There is no backend.", "Press Set up.", SET_UP)
    assert _child(panel, "retry").isHidden()
    assert not _child(panel, "set_up").isHidden()
    _child(panel, "set_up").click()
    assert clicks == [True]


def test_the_negative_prompt_is_folded_away_until_it_is_asked_for(panel: DockerPanel) -> None:
    negative = _child(panel, "negative_prompt")
    assert negative.isHidden()
    _child(panel, "more").click()
    assert not negative.isHidden()


def test_the_preview_keeps_the_aspect_of_the_picture(application: Any) -> None:
    preview = Preview()
    preview.resize(200, 200)
    extent = Extent(64, 32)
    green = Picture(
        pixels=b"\x00\xff\x00\xff" * extent.pixels,
        extent=extent,
        area=extent.bounds,
        canvas=extent,
        document_id="A",
        revision=1,
        is_final=True,
    )
    preview.set_picture(green)
    seen = preview.grab().toImage()
    middle, above = (round(n * seen.devicePixelRatio()) for n in (100, 20))
    assert seen.pixelColor(middle, middle).getRgb()[:3] == (0, 255, 0)
    assert seen.pixelColor(middle, above).getRgb()[:3] != (0, 255, 0)
    preview.set_picture(None)
    assert preview.image() is None


def test_the_edges_of_a_selection_are_set_and_sent(panel: DockerPanel) -> None:
    assert _child(panel, "edges").isHidden()
    _child(panel, "more").click()
    assert not _child(panel, "edges").isHidden()
    for name, value in (("grow", 20), ("feather", 7), ("blend", 3), ("context", 64)):
        _child(panel, f"inpaint_{name}_px").setValue(value)
    mode, fill = _child(panel, "inpaint_mode"), _child(panel, "inpaint_fill")
    mode.setCurrentIndex(mode.findData("custom"))
    fill.setCurrentIndex(fill.findData("border"))
    wish = panel.test_settings.params().inpaint
    lengths = (wish.grow_px, wish.feather_px, wish.blend_px, wish.context_px)
    assert lengths == (20, 7, 3, 64)
    assert wish.mode is InpaintMode.CUSTOM
    assert wish.initial_fill is InitialFill.BORDER
    match = _child(panel, "inpaint_match")
    for choice, expected in (
        ("edge", (True, True)),
        ("shift", (True, False)),
        ("off", (False,) * 2),
    ):
        match.setCurrentIndex(match.findData(choice))
        wish = panel.test_settings.params().inpaint
        assert (wish.match_colours, wish.poisson) == expected


def test_the_layers_that_are_mask_and_context_are_named(panel: DockerPanel) -> None:
    area, context = _child(panel, "area"), _child(panel, "inpaint_context_layer")
    panel.show_layers("my mask", "")
    assert area.itemText(area.findData("layer")) == "Layer: my mask"
    assert context.text() == "Context from the active layer"
    panel.show_layers("", "frame")
    assert area.itemText(area.findData("layer")) == "Active layer"
    assert context.text().endswith(": frame")


def test_every_choice_of_the_docker_is_one_that_the_protocol_knows(panel: DockerPanel) -> None:
    for name, known in (("inpaint_mode", InpaintMode), ("inpaint_fill", InitialFill)):
        box = _child(panel, name)
        assert {box.itemData(n) for n in range(box.count())} == {choice.value for choice in known}


def test_a_panel_scrolls_in_a_low_docker_and_its_status_stays_in_sight(panel: DockerPanel) -> None:
    area = ScrollPanel(panel)
    low = area.minimumSizeHint()
    assert low.height() <= 440
    assert low.width() >= panel.minimumSizeHint().width()
    assert low.width() <= 340
    area.resize(low)
    area.show()
    QtWidgets.QApplication.processEvents()
    status = _child(panel, "status")
    assert status.mapTo(area, status.rect().bottomLeft()).y() < low.height()
    _child(panel, "more").click()
    for n in range(8):
        panel.test_controls.add("scribble", str(n), "a layer with quite a long name")
    QtWidgets.QApplication.processEvents()
    tall = area.minimumSizeHint()
    assert tall.height() < panel.minimumSizeHint().height()
    assert tall.width() > panel.minimumSizeHint().width()
    assert panel.minimumSizeHint().width() <= 340, "long names never widen the docker"


def test_a_control_row_shows_and_changes_its_control(panel: DockerPanel) -> None:
    controls = panel.test_controls
    controls.add("pose", "{1}", "Pose")
    controls.add("pose", "{1}", "Pose")
    assert len(controls.rows) == 1, "the same layer is the same control once"
    on, scale = _child(panel, "control_c0_on"), _child(panel, "control_c0_scale")
    assert on.text() == "Pose: Pose"
    scale.setValue(60)
    on.setChecked(False)
    assert (controls.rows[0].scale, controls.rows[0].enabled) == (0.6, False)
    menu = _child(panel, "control_c0_more").menu()
    actions = {action.text(): action for action in menu.actions()}
    actions["The first half of the steps"].trigger()
    assert (controls.rows[0].start, controls.rows[0].end) == (0.0, 0.5)
    assert not actions["All steps"].isChecked()
    actions["Remove"].trigger()
    assert controls.rows == ()


def test_the_menu_asks_for_people_files_and_layers(panel: DockerPanel) -> None:
    asked: list[str] = []
    rows = panel.control_rows
    rows.add_clicked.connect(asked.append)
    rows.pose_clicked.connect(asked.append)
    menu = _child(panel, "add_control").menu()
    people = menu.actions()[0].menu()
    people.actions()[0].trigger()
    next(a for a in menu.actions() if a.text().startswith("Depth")).trigger()
    assert asked == ["standing", "depth"]


def test_a_frame_of_512_px_costs_the_widgets_at_most_four_milliseconds(
    panel: DockerPanel, application: Any
) -> None:
    """Both previews, the live line and their painting; the median, as other tests run beside."""
    view = PreviewPanel(lambda _name: QtGui.QIcon())
    panel.resize(300, 1000)
    view.resize(520, 560)
    panel.show()
    view.show()
    application.processEvents()
    extent = Extent(512, 512)
    spent_ms: list[float] = []
    for n in range(60):
        picture = Picture(
            pixels=bytes([n, 2 * n, 3 * n, 255]) * extent.pixels, extent=extent,
            area=extent.bounds, canvas=extent, document_id="A", revision=n, is_final=True,
        )  # fmt: skip
        started = time.perf_counter()
        panel.show_picture(picture)
        view.view.set_picture(picture)
        panel.test_state.update(frame_ms=n, fps=3.0, has_picture=True)
        application.processEvents()
        spent_ms.append((time.perf_counter() - started) * 1000)
    assert view.view.grab().toImage().pixelColor(260, 260).red() == 3 * 59
    assert statistics.median(spent_ms) <= 4.0
    panel.hide()
    view.hide()
