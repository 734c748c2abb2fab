"""The model row: what the backend lists can be chosen, and prompts are given what fits."""

from __future__ import annotations

from typing import Any

import pytest
from nijimi.model.controls import Controls
from nijimi.model.live_state import LiveState
from nijimi.model.models import KnownModels
from nijimi.model.picture import Picture
from nijimi.model.results import Result
from nijimi.model.settings import RENDER_SETTINGS, Settings
from nijimi.model.styles import Style
from nijimi.qt import QtGui, QtWidgets
from nijimi.ui.docker import DockerPanel
from nijimi_protocol.geometry import Extent
from nijimi_protocol.messages import ModelEntry, Models, Status
from nijimi_protocol.params import RenderParams

MINI = ModelEntry(name="nijimi-mini", title="nijimi mini", family="mini", native_px=256)
DREAM = ModelEntry(name="dream_8", title="dream 8", family="sd1", native_px=512)
INK = ModelEntry(name="ink", title="ink", family="sd1", kind="lora")
XL = ModelEntry(name="for-xl", title="for xl", family="sdxl", kind="lora")
CALM = ModelEntry(name="calm", title="calm", family="sd1", kind="embedding")


@pytest.fixture
def panel(application: Any) -> DockerPanel:
    settings, models = Settings(), KnownModels()
    panel = DockerPanel(settings, LiveState(), Controls(), lambda _name: QtGui.QIcon(), (), models)
    panel.test_settings, panel.test_models = settings, models
    return panel


def _choice(panel: DockerPanel) -> Any:
    return panel.findChild(QtWidgets.QComboBox, "nijimi_model")


def _menu(panel: DockerPanel) -> Any:
    button = panel.findChild(QtWidgets.QToolButton, "nijimi_add_adapter")
    menu = button.menu()
    menu.aboutToShow.emit()
    return menu


def _choose(choice: Any, n: int) -> None:
    choice.setCurrentIndex(n)
    choice.activated.emit(n)


def test_what_is_listed_can_be_chosen_and_the_first_is_the_default(panel: DockerPanel) -> None:
    choice = _choice(panel)
    assert choice.currentText() == "The first model there is"
    panel.test_models.take(Models(models=(MINI, DREAM, INK)))
    texts = [choice.itemText(n) for n in range(choice.count())]
    assert texts == ["nijimi mini (small)", "dream 8 (SD 1)"]
    assert choice.currentIndex() == 0
    assert panel.test_settings.get("model") == ""
    _choose(choice, 1)
    assert panel.test_settings.get("model") == "dream_8"
    assert panel.test_settings.params().model == "dream_8"


def test_a_model_whose_file_is_gone_stays_chosen_and_comes_back(panel: DockerPanel) -> None:
    choice = _choice(panel)
    panel.test_settings.set("model", "dream_8")
    panel.test_models.take(Models(models=(MINI,)))
    assert choice.currentText() == "dream_8 (not found)"
    assert panel.test_settings.get("model") == "dream_8"
    panel.test_models.take(Models(models=(MINI, DREAM)))
    assert choice.currentText() == "dream 8 (SD 1)"


def test_only_adapters_that_fit_are_offered_and_go_into_the_prompt(panel: DockerPanel) -> None:
    panel.test_models.take(Models(models=(MINI, DREAM, INK, XL, CALM)))
    assert [a.text() for a in _menu(panel).actions()] == [
        "No LoRA or embedding for this model was found"
    ]
    panel.test_settings.set("model", "dream_8")
    panel.test_settings.set("prompt", "a boat")
    actions = _menu(panel).actions()
    assert [a.text() for a in actions] == ["calm (embedding)", "ink (lora)"]
    for action in actions:
        action.trigger()
        action.trigger()
    assert panel.test_settings.get("prompt") == "a boat calm <lora:ink:0.8>"


def test_other_events_are_passed_over(panel: DockerPanel) -> None:
    panel.test_models.take(Models(models=(MINI,)))
    seen: list[int] = []
    panel.test_models.changed.connect(lambda: seen.append(1))
    panel.test_models.take(Status(state="ready", device="CPU", model="x"))
    panel.test_models.take(Models(models=(MINI,)))
    assert seen == []


def test_a_vae_is_chosen_among_those_there_are(panel: DockerPanel) -> None:
    field = panel.findChild(QtWidgets.QComboBox, "nijimi_vae")
    assert [field.itemText(n) for n in range(field.count())] == ["The model's own"]
    soft = ModelEntry(name="soft", title="soft", family="", native_px=0, kind="vae")
    panel.test_models.take(Models(models=(MINI, soft)))
    assert field.itemText(1) == "soft"
    field.setCurrentIndex(1)
    field.activated.emit(1)
    assert panel.test_settings.params().vae == "soft"
    panel.test_models.take(Models(models=(MINI,)))
    assert field.currentText() == "soft (not found)"
    assert panel.test_settings.params().vae == "soft"
    field.activated.emit(0)
    assert panel.test_settings.params().vae == ""


def test_a_second_prompt_is_gone_over_to_by_a_slider(panel: DockerPanel) -> None:
    settings = panel.test_settings
    slider = panel.findChild(QtWidgets.QSlider, "nijimi_prompt_blend")
    slider.setValue(40)
    # Without a second prompt there is nothing to go over to.
    assert settings.params().prompt_blend == 0.0
    settings.set("second_prompt", "a winter morning")
    field = panel.findChild(QtWidgets.QWidget, "nijimi_second_prompt")
    assert field.toPlainText() == "a winter morning"
    params = settings.params()
    assert (params.second_prompt, params.prompt_blend) == ("a winter morning", 0.4)
    settings.style = Style(name="ink", prompt="{prompt}, ink drawing")
    assert settings.params().second_prompt == "a winter morning, ink drawing"
    assert {"second_prompt", "prompt_blend", "schedule", "vae"} <= RENDER_SETTINGS


def test_sampler_guidance_and_clip_skip_reach_the_backend(panel: DockerPanel) -> None:
    def child(name: str) -> Any:
        return panel.findChild(QtWidgets.QWidget, f"nijimi_{name}")

    child("sampler").setCurrentIndex(child("sampler").findData("dpmpp_2m"))
    child("guidance_scale").setValue(6.5)
    child("clip_skip").setValue(2)
    child("schedule").setCurrentIndex(child("schedule").findData("karras"))
    params = panel.test_settings.params()
    assert params.schedule == "karras"
    assert (params.sampler, params.guidance_scale, params.clip_skip) == ("dpmpp_2m", 6.5, 2)
    panel.test_settings.set("negative_prompt", "fog")
    assert panel.test_settings.params().guidance_scale == 6.5
    child("guidance_scale").setValue(1.0)
    assert panel.test_settings.params().guidance_scale == 1.5
    panel.test_settings.set("sampler", "from a newer version")
    assert panel.test_settings.params().sampler == "auto"


def test_a_result_names_the_files_that_it_was_made_with() -> None:
    models = KnownModels()
    sea = ModelEntry(name="sea", title="sea", family="sd1", digest="0123456789")
    ink = ModelEntry(name="Ink", title="Ink", family="sd1", kind="lora", digest="abcdef012345")
    models.take(Models(models=(sea, ink, XL)))
    params = RenderParams(
        prompt="a boat <lora:comic/ink:0.8> <lora:for-xl:1> <lora:gone>", model="sea"
    )
    assert models.digests(params) == ("0123456789", {"comic/ink": "abcdef012345"})
    extent = Extent(2, 2)
    picture = Picture(
        pixels=bytes(16), extent=extent, area=extent.bounds, canvas=extent, document_id="A",
        revision=1, is_final=True,
    )  # fmt: skip
    result = Result(id=1, name="1", picture=picture, params=params, sampler="lcm")
    text = result.info(models.digests)
    assert "Model hash: 0123456789" in text
    assert 'Lora hashes: "comic/ink: abcdef012345"' in text
    assert "hash" not in result.info()
