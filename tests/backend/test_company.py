"""Pictures of several clients, denoised together: the same ones that each would have got alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nijimi_backend.engine.company import Company, Outcome
from nijimi_backend.engine.engine import Engine
from nijimi_backend.engine.request import Control, FrameRequest, Picture
from nijimi_backend.errors import BadInput, DeviceLost, RenderCancelled
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_backend.models.placement import Measure
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from tests.support.control_layers import lined
from tests.support.tiny_control import write_adapter, write_controlnet
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny", attention_first=True)
    library = Library([folder])
    bundle = load_model(library.find_model("tiny"), choose_device("cpu"))
    # Packed for each number of rows it would take longer than the pictures.
    return Engine(bundle, library, lambda network, inputs: network, in_company=True)


def _request(n: int, **params: object) -> FrameRequest:
    canvas = np.full((64, 64, 4), 255, np.uint8)
    canvas[..., n % 3] = 30 * n % 256
    wish = {"prompt": f"house {n}", "seed": n, "num_inference_steps": 2, **params}
    return FrameRequest(
        params=RenderParams(**wish),  # type: ignore[arg-type]
        extent=Extent(64, 64),
        canvas=canvas,
        canvas_version=1000 + n,
    )


def _go_on() -> bool:
    return False


def _nothing(_done: int, _total: int) -> None:
    pass


def _all(company: Company) -> dict[Hashable, Outcome]:
    ended: dict[Hashable, Outcome] = {}
    while len(company):
        ended.update(company.advance())
    return ended


def _calls(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the UNet has from now on."""
    unet = engine._bundle.unet  # pyright: ignore[reportPrivateUsage]
    rows: list[int] = []
    real: Callable[..., Any] = unet.forward

    def forward(latents: torch.Tensor, *inputs: Any, **more: Any) -> Any:
        rows.append(latents.shape[0])
        return real(latents, *inputs, **more)

    monkeypatch.setattr(unet, "forward", forward)
    return rows


WISHES: list[dict[str, object]] = [
    {},
    {"num_inference_steps": 4},
    {"guidance_scale": 4.0, "negative_prompt": "fog"},
    {"strength": 0.4},
    {"mode": RenderMode.TXT2IMG, "prompt": " ".join(["word"] * 120)},
    {"sampler": "euler", "num_inference_steps": 3},
]


def test_pictures_in_company_are_those_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [_request(n, **wish) for n, wish in enumerate(WISHES)]
    alone = [engine.render(request) for request in requests]
    rows = _calls(engine, monkeypatch)
    company = engine.company()
    made: dict[Hashable, Outcome] = {}
    for n, request in enumerate(requests):
        assert engine.joins(request) == engine.joins(requests[0])
        company.add(n, request, _go_on, _nothing)
        # They come one after another, and still share calls.
        made.update(company.advance())
    made.update(_all(company))
    for n, before in enumerate(alone):
        picture = made[n]
        assert isinstance(picture, Picture)
        gap = np.abs(picture.pixels.astype(int) - before.pixels.astype(int)).max()
        assert gap <= 1, WISHES[n]
        assert picture.num_inference_steps == before.num_inference_steps
    steps = sum(picture.num_inference_steps for picture in alone)
    assert len(rows) < 0.75 * steps


def test_controls_of_one_do_not_reach_another(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    write_controlnet(tmp_path / "controlnet" / "lines", "scribble")
    write_adapter(tmp_path / "controlnet" / "t2iadapter_canny", in_channels=1)
    library = Library([tmp_path])
    bundle = load_model(library.find_model("tiny"), choose_device("cpu"))
    engine = Engine(bundle, library, lambda network, inputs: network, in_company=True)
    layer = lined((255, 255, 255, 255), (0, 0, 0, 255))
    steered = replace(
        _request(1), controls=(Control(kind="scribble", pixels=layer, version=1, scale=1.0),)
    )
    requests = [
        steered,
        _request(1),
        replace(steered, params=replace(steered.params, seed=8)),
        replace(steered, controls=(replace(steered.controls[0], kind="canny"),)),
        _request(1, guidance_scale=3.0),
    ]
    # The same features for both rows, and for a neighbour of one row.
    requests.append(replace(requests[4], controls=requests[3].controls))
    alone = [engine.render(request).pixels.astype(int) for request in requests]
    assert np.abs(alone[0] - alone[1]).max() > 2, "the control changes the picture"
    company = engine.company()
    for n, request in enumerate(requests):
        company.add(n, request, _go_on, _nothing)
    for n, picture in _all(company).items():
        assert isinstance(picture, Picture)
        assert isinstance(n, int)
        assert np.abs(picture.pixels.astype(int) - alone[n]).max() <= 1


def test_who_gives_up_or_fails_leaves_the_others_alone(engine: Engine) -> None:
    company = engine.company()
    wanted = [True]
    company.add("stays", _request(1, num_inference_steps=4), _go_on, _nothing)
    company.add("leaves", _request(2, num_inference_steps=4), lambda: not wanted[0], _nothing)
    company.add("wrong", replace(_request(3), canvas=None), _go_on, _nothing)
    ended = dict(company.advance())
    assert isinstance(ended["wrong"], BadInput)
    wanted[0] = False
    made = _all(company)
    assert isinstance(made["leaves"], RenderCancelled)
    assert isinstance(made["stays"], Picture)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), type(None)),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (RuntimeError("sizes do not fit"), RuntimeError),
    ],
)
def test_a_call_that_fails_is_told_to_all_of_its_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: Exception, outcome: type[object]
) -> None:
    """Where memory ran out each is made alone, which knows what to give up for it."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    company = engine.company()
    for n in range(2):
        company.add(n, _request(n), _go_on, _nothing)
    assert company.advance() == []
    with monkeypatch.context() as patch:
        patch.setattr(engine._bundle.unet, "forward", fail)  # pyright: ignore[reportPrivateUsage]
        ended = dict(company.advance())
    assert [type(ended[n]) for n in range(2)] == [outcome] * 2
    assert len(company) == 0
    assert engine.render(_request(1)).pixels.any()


def test_what_is_there_once_for_all_rows_is_painted_alone(engine: Engine) -> None:
    plain = _request(1)
    kind = engine.joins(plain)
    assert kind is not None
    region = Control(kind="region", pixels=lined((0, 0, 0, 0), (9, 9, 9, 255)), prompt="sky")
    assert engine.joins(replace(plain, controls=(region,))) is None
    assert engine.joins(replace(plain, controls=(replace(region, scale=0.0),))) == kind
    reference = Control(kind="reference", pixels=region.pixels)
    assert engine.joins(replace(plain, controls=(reference,))) is None
    assert engine.joins(replace(plain, upscale=UpscaleParams())) is None
    assert engine.joins(_request(2, prompt="a house <lora:other:0.5>")) != kind
    placement = engine._bundle.placement  # pyright: ignore[reportPrivateUsage]
    placement.measure = Measure.TILES
    assert engine.joins(plain) is None, "memory is short"
    placement.measure = Measure.NONE


def test_on_a_cpu_everybody_paints_alone(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    library = Library([tmp_path])
    engine = Engine(load_model(library.find_model("tiny"), choose_device("cpu")), library)
    assert engine.joins(_request(1)) is None
