"""Results: bounded, kept in the file, and read from it with suspicion."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nijimi.live import keeper
from nijimi.model import packed_results
from nijimi.model import results as results_module
from nijimi.model.packed_results import pack_result, unpack_result
from nijimi.model.picture import Picture
from nijimi.model.picture_settings import read_text
from nijimi.model.results import Result, Results
from nijimi.ui.results_strip import save_png
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from nijimi_protocol.picture_info import params_from_info

from .batch_world import ask_for_batch, make_picture
from .flow_world import SIZE, World, spin


def _result(results: Results, document: str = "A", size: Extent = SIZE) -> Result:
    picture = Picture(
        pixels=bytes([9, 60, 200, 255]) * size.pixels, extent=size, area=size.bounds, canvas=size,
        document_id=document, revision=1, is_final=True,
    )  # fmt: skip
    params = RenderParams(prompt="sea, night", seed=11, num_inference_steps=8)
    number = results.new_id()
    return Result(
        id=number, name=f"{number:03}", picture=picture, params=params, sampler="lcm",
    )  # fmt: skip


def test_results_are_bounded_in_number_and_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results()
    results.set_document("A")
    monkeypatch.setattr(results_module, "MOST_RESULTS", 5)
    for _ in range(8):
        results.add(_result(results))
    assert [entry.id for entry in results.entries] == [4, 5, 6, 7, 8]
    monkeypatch.setattr(results_module, "MOST_BYTES", 3 * SIZE.pixels * 4)
    results.choose(4)
    results.add(_result(results, "B"))
    assert [entry.id for entry in results.entries] == [7, 8]
    assert results.chosen is None, "what is gone is still chosen"
    results.remove(7)
    results.clear()
    assert results.entries == ()
    results.set_document("B")
    assert len(results.entries) == 1


def test_results_are_kept_in_the_file_and_come_back(
    world: World, wait: Callable[..., None], application: Any
) -> None:
    world.settings.set("prompt", "a house")
    batch_id = ask_for_batch(world, wait)
    make_picture(world, batch_id, 0, 40)
    make_picture(world, batch_id, 1, 90)
    wait(lambda: len(world.canvas.kept.get("A", {})) == 2, 3)
    world.flow.generator.results.remove(world.flow.generator.results.entries[0].id)
    assert len(world.canvas.kept["A"]) == 1
    again = World()
    again.canvas.kept = {"B": world.canvas.kept["A"]}
    again.go_to("B")
    results = again.flow.generator.results
    wait(lambda: len(results.entries) == 1, 3)
    found, before = results.entries[0], world.flow.generator.results.entries[0]
    assert (found.params, found.sampler) == (before.params, before.sampler)
    assert found.picture.pixels == before.picture.pixels
    assert (found.picture.area, found.picture.canvas) == (before.picture.area, SIZE)
    spin(application, 50)
    assert len(results.entries) == 1, "they were read twice"


def test_documents_that_are_closed_are_held_by_nobody(application: Any) -> None:
    """Each holds what Krita knows of it. One that is only behind another one is still known."""
    world = World()
    world.canvas.open.add("C")
    world.canvas.extents["C"] = SIZE
    world.go_to("B")
    world.canvas.open.remove("A")
    world.go_to("C")
    held = world.flow.generator._keeper._documents  # pyright: ignore[reportPrivateUsage]
    assert set(held) == {"B", "C"}
    world.canvas.open.add("A")
    world.go_to("A")
    assert set(held) == {"A", "B", "C"}, "opened again"


def test_a_file_keeps_a_bounded_number_of_pictures_and_the_newest(
    application: Any, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MOST_KEPT", 3)
    world = World()
    results = world.flow.generator.results
    for _ in range(5):
        results.add(_result(results))
    wait(lambda: sorted(world.canvas.kept.get("A", {})) == ["003", "004", "005"], 3)
    assert len(results.entries) == 5, "what does not fit into the file is still here"
    results.clear()
    wait(lambda: world.canvas.kept["A"] == {}, 3)


def test_a_picture_of_a_selection_comes_back_with_its_transparency(application: Any) -> None:
    results = Results()
    whole = _result(results)
    pixels = bytes([9, 60, 200, 0] * (SIZE.pixels // 2) + [9, 60, 200, 255] * (SIZE.pixels // 2))
    selected = replace(whole.picture, pixels=pixels, selected=SIZE.bounds, selection=pixels[3::4])
    result = replace(whole, picture=selected)
    found = unpack_result(pack_result(result), result.id, result.name, "A")
    assert found is not None
    assert found.picture.selection == selected.selection
    assert found.picture.selected == SIZE.bounds
    assert found.picture.pixels[3::4] == pixels[3::4]


def test_a_file_of_a_stranger_cannot_fill_the_memory(
    application: Any, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pack_result(_result(Results()))
    # The size that the header claims (PNG, 11.2.2) is 400 megapixels; its checksum is right.
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + one[24:29]
    bomb = one[:12] + header + zlib.crc32(header).to_bytes(4, "big") + one[33:]
    assert unpack_result(bomb, 1, "001", "A") is None
    monkeypatch.setattr(keeper, "MOST_BYTES", 5 * SIZE.pixels * 4)
    world = World()
    world.canvas.kept = {"B": {f"{n:03}": one for n in range(40)} | {"bomb": bomb}}
    world.go_to("B")
    results = world.flow.generator.results
    wait(lambda: len(results.entries) == 5, 3)
    spin(application, 100)
    assert [entry.name for entry in results.entries] == [f"{n:03}" for n in range(35, 40)]
    assert len(world.canvas.kept["B"]) == 41, "what is not shown is still the painter's"


@pytest.mark.parametrize("data", [b"", b"no picture", b"newer"])
def test_what_is_no_kept_picture_is_passed_over(application: Any, data: bytes) -> None:
    if data == b"newer":
        packed_results.FORMAT, before = 99, packed_results.FORMAT
        try:
            data = pack_result(_result(Results()))
        finally:
            packed_results.FORMAT = before
    assert unpack_result(data, 1, "001", "A") is None


def test_a_saved_result_carries_what_it_was_made_from(application: Any, tmp_path: Path) -> None:
    result = _result(Results())
    assert save_png(result, str(tmp_path / "one"))
    text = read_text(str(tmp_path / "one.png"))
    found = params_from_info(text, RenderParams())
    assert (found.prompt, found.seed, found.num_inference_steps) == ("sea, night", 11, 8)
    assert not save_png(result, str(tmp_path / "nowhere" / "one.png"))
