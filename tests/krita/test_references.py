"""References in real Krita: a layer of the document that the picture takes after, live."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nijimi_backend.engine.engine import open_engine
from nijimi_installer.desktop.profile import KritaProfile

from benchmarks.real_references import write_image_encoder, write_ip_adapter

from .session import Session

_HERE = Path(__file__).with_name("inside_references.py")
KINDS = ("Reference", "Reference of style", "Reference of a face")


@pytest.fixture
def adapter(profile: KritaProfile) -> Iterator[Path]:
    """An IP-Adapter for the embedded model: random, but of the real layout."""
    folder = profile.data_dir / "nijimi" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    bundle = open_engine("", None, "cpu")._bundle  # pyright: ignore[reportPrivateUsage]
    made: Any = SimpleNamespace(unet=bundle.unet)
    write_image_encoder(folder / "vision.safetensors")
    write_ip_adapter(folder / "some-adapter.safetensors", made, "plus")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _inside(session: Session, name: str, /, **arguments: Any) -> Any:
    return session.krita.call(_HERE, name, **arguments)


def test_the_picture_takes_after_a_layer_that_is_no_part_of_it(
    session: Session, adapter: Path, tmp_path: Path
) -> None:
    session.nijimi("set_values", seed=5, seed_locked=True)
    session.go_live()
    plain = _inside(session, "picture")
    session.inside("add_filled_layer", name="look")
    session.inside("wait_for_rest")
    assert session.add_control("reference", "look") == [["reference", "look", 1.0, True]]
    session.wait_for(lambda: session.nijimi("metrics")["final_revision_shown"])
    assert session.inside("captured_colour", x=60, y=60)["colour"] == [255, 255, 255, 255]
    session.wait_for(lambda: _inside(session, "picture") != plain)
    led = _inside(session, "picture")
    assert session.inside("problems") == ""
    row = _inside(session, "row_ids")[0]
    session.wait_for(lambda: _inside(session, "has_thumbnail", row_id=row))
    titles = _inside(session, "show_menu", is_open=True)
    session.step("screenshot", path=str(tmp_path / "reference.png"))
    _inside(session, "show_menu", is_open=False)
    assert {f"{kind} from the active layer" for kind in KINDS} < set(titles)
    session.controls("update_control", row_id=row, scale=0.3)
    session.wait_for(lambda: _inside(session, "picture") not in (plain, led))
    session.controls("update_control", row_id=row, enabled=False)
    session.wait_for(lambda: _inside(session, "picture") == plain)


def test_an_empty_reference_is_told_and_the_picture_goes_on(
    session: Session, adapter: Path
) -> None:
    session.go_live()
    session.add_control("style", "paint")
    session.wait_for(lambda: "reference layer is empty" in session.inside("problems"))
    before = session.inside("frames_shown")
    session.nijimi("set_values", prompt="a boat")
    session.wait_for(lambda: session.inside("frames_shown") > before)
