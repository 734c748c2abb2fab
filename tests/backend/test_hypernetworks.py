"""Hypernetworks: converted, named by prompts, and applied as A1111's web UI defines them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.request import FrameRequest, Picture
from nijimi_backend.models.convert import convert_pickle
from nijimi_backend.models.recognise import FileKind
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams

from benchmarks.real_hypernets import Pairs, through, write_hypernetwork
from benchmarks.workbench import BAR, PROMPT, Workbench, gap, parity_params


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("hypernets"), "sd1")


def _write(bench: Workbench, name: str, *form: str, **how: bool) -> Pairs:
    pairs = write_hypernetwork(bench.folder / f"{name}.safetensors", bench.made.unet, *form, **how)
    bench.library.files()
    return pairs


def _reference(bench: Workbench, *used: tuple[Pairs, float]) -> torch.Tensor:
    pipe = bench.pipeline("lcm", more={"unet": through(bench.made.unet, *used)})
    return bench.theirs(pipe, parity_params(prompt=PROMPT), lcm_noise=True)


@pytest.mark.parametrize(
    ("activation", "norm", "old"),
    [("linear", False, False), ("relu", True, False), ("tanh", False, False),
     ("linear", False, True)],
)  # fmt: skip
def test_it_is_what_its_definition_says(
    bench: Workbench, activation: str, norm: bool, old: bool
) -> None:
    name = f"hyper-{activation}-{norm}-{old}"
    pairs = _write(bench, name, activation, norm=norm, old=old)
    ours = bench.ours(parity_params(prompt=f"{PROMPT}<hypernet:{name}:0.6>"))
    assert gap(ours, _reference(bench, (pairs, 0.6))) < BAR
    assert gap(ours, bench.ours(parity_params(prompt=PROMPT))) > 0.01


def test_two_read_one_after_the_other(bench: Workbench) -> None:
    first = _write(bench, "first", "linear")
    second = _write(bench, "second-one", "relu")
    ours = bench.ours(
        parity_params(prompt=f"{PROMPT}<hypernet:first:0.5><hypernet:second-one:0.4>")
    )
    assert gap(ours, _reference(bench, (first, 0.5), (second, 0.4))) < BAR


def _render(bench: Workbench, prompt: str) -> Picture:
    params = RenderParams(prompt=prompt, seed=3, num_inference_steps=1, strength=0.7)
    canvas = np.full((64, 64, 4), 150, np.uint8)
    with bench.eager():
        return bench.engine.render(
            FrameRequest(params=params, extent=Extent(64, 64), canvas=canvas, canvas_version=1)
        )


def test_it_goes_without_a_trace_and_packed_weights_come_back(bench: Workbench) -> None:
    _write(bench, "ink")
    plain = _render(bench, "sea").pixels
    led = _render(bench, "sea <hypernet:ink:1>").pixels
    assert not np.array_equal(plain, led)
    assert not np.array_equal(led, _render(bench, "sea <hypernet:ink:0.3>").pixels)
    assert np.array_equal(plain, _render(bench, "sea <hypernet:ink:0>").pixels)
    assert np.array_equal(plain, _render(bench, "sea").pixels)
    assert bench.engine.denoiser._packs  # pyright: ignore[reportPrivateUsage]
    assert np.array_equal(led, _render(bench, "sea <hypernet:ink:1>").pixels)


def test_it_is_known_by_its_tensors(bench: Workbench) -> None:
    _write(bench, "known")
    (file,) = (each for each in bench.library.files() if each.name == "known")
    assert file.found.kind is FileKind.HYPERNETWORK
    assert file.found.family == "sd1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no hypernetwork named 'nowhere'"),
        ("other", "for another family"),
        ("strange", "activation swoosh is not known"),
        ("torn", "cannot be read"),
    ],
)
def test_one_that_cannot_be_used_is_told_and_the_rest_goes_on(
    bench: Workbench, tmp_path: Path, name: str, words: str
) -> None:
    layer = {"linear.0.weight": torch.zeros(8, 8), "linear.0.bias": torch.zeros(8)}
    wide = {"linear.0.weight": torch.zeros(768, 768), "linear.0.bias": torch.zeros(768)}
    saved: dict[str, dict[Any, Any]] = {
        "other": {320: ({**layer}, {**layer}), 8: ({**layer}, {**layer})},
        "strange": {768: (wide, wide), "activation_func": "swoosh"},
        "torn": {768: (wide, {"linear.0.weight": torch.zeros(768, 768)})},
    }
    saved["other"][320] = tuple(
        {"linear.0.weight": torch.zeros(320, 320), "linear.0.bias": torch.zeros(320)}
        for _ in range(2)
    )
    if name in saved:
        torch.save(saved[name], tmp_path / "h.pt")
        convert_pickle(tmp_path / "h.pt", bench.folder / f"{name}.safetensors")
        bench.library.files()
    picture = _render(bench, f"sea <hypernet:{name}:1>")
    assert [words in each.sentence for each in picture.failures] == [True]
    assert np.array_equal(picture.pixels, _render(bench, "sea").pixels)
