"""Control files: each form is read as its makers meant it. How exactly: see test_checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetUnionModel, T2IAdapter
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.errors import ModelCorrupt
from nijimi_backend.models.control_files import adapter_config
from nijimi_backend.models.controls import (
    ControlInfo,
    find_control,
    list_controls,
    load_control,
)
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_protocol.geometry import Extent
from nijimi_protocol.params import RenderParams
from safetensors.torch import save_file

from tests.support.tiny_control import make_controlnet, write_controlnet, write_union
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("union")
    write_tiny_model(folder / "tiny", attention_first=True)
    write_union(folder / "controlnet" / "all-in-one")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return open_engine("tiny", folder, "cpu")


def _frame(engine: Engine, *controls: Control) -> tuple[np.ndarray, int]:
    canvas = np.full((64, 64, 4), 200, dtype=np.uint8)
    params = RenderParams(prompt="a house", seed=4, strength=0.8)
    picture = engine.render(
        FrameRequest(
            params=params, extent=Extent(64, 64), canvas=canvas, canvas_version=1,
            controls=controls,
        )
    )  # fmt: skip
    return picture.pixels, len(picture.failures)


def _control(kind: str) -> Control:
    layer = np.full((64, 64, 4), 255, dtype=np.uint8)
    layer[20:24, :, :3] = 0
    return Control(kind=kind, pixels=layer, version=1)


def test_a_union_network_serves_its_kinds_and_each_in_its_own_way(engine: Engine) -> None:
    plain, _ = _frame(engine)
    scribble, failed = _frame(engine, _control("scribble"))
    lines, _ = _frame(engine, _control("lineart"))
    canny, _ = _frame(engine, _control("canny"))
    assert not failed
    assert not np.array_equal(plain, scribble)
    # The same hint as another task is another picture; two words for one task are none.
    assert not np.array_equal(scribble, lines)
    assert np.array_equal(lines, canny)
    # Six tasks only: tiles are the seventh.
    assert _frame(engine, _control("tile"))[1] == 1


def test_one_file_is_loaded_once_for_all_its_kinds(engine: Engine) -> None:
    _, failed = _frame(engine, _control("scribble"), _control("depth"), _control("seg"))
    assert not failed
    networks = engine.controls._networks  # pyright: ignore[reportPrivateUsage]
    assert networks.misses == 1


def test_a_network_for_one_kind_goes_before_one_for_all(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    write_union(tmp_path / "controlnet" / "all-in-one")
    room = open_engine("tiny", tmp_path, "cpu")
    before, _ = _frame(room, _control("scribble"))
    write_controlnet(tmp_path / "controlnet" / "my_scribble")
    after, failed = _frame(room, _control("scribble"))
    assert not failed
    assert not np.array_equal(before, after)
    library = Library([tmp_path])
    found = find_control("scribble", library.find_model("tiny"), make_controlnet(), library)
    assert found.name == "my_scribble"


def test_a_union_file_is_known_by_its_header(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    made = ControlNetUnionModel.from_pretrained(write_union(tmp_path / "made", width=2048))
    save_file(made.state_dict(), tmp_path / "x.safetensors")
    library = Library([tmp_path])
    info = next(i for i in list_controls(library.find_model("tiny"), library) if i.name == "x")
    assert (info.family, info.width, len(info.kinds)) == ("sdxl", 2048, 9)
    file = next(file for file in library.files() if file.path.name == "x.safetensors")
    assert file.found.form == "union"


def test_light_adapters_are_left_out_and_whole_ones_described() -> None:
    with pytest.raises(ValueError, match="light"):
        adapter_config({"body.0.in_conv.weight": (40, 192, 1, 1)})
    for channels, side, kind in ((3, 8, "full_adapter"), (1, 16, "full_adapter_xl")):
        made = T2IAdapter(
            in_channels=channels, channels=[16, 32, 64, 64], num_res_blocks=2,
            downscale_factor=side, adapter_type=kind,
        )  # fmt: skip
        config = adapter_config({key: tuple(v.shape) for key, v in made.state_dict().items()})
        assert config == {
            "in_channels": channels, "channels": [16, 32, 64, 64], "num_res_blocks": 2,
            "downscale_factor": side, "adapter_type": kind,
        }  # fmt: skip


@pytest.mark.parametrize("flaw", ["control lora", "cut", "other channels"])
def test_a_file_that_does_not_fit_is_refused_with_a_sentence(tmp_path: Path, flaw: str) -> None:
    weights = {key: value.clone() for key, value in make_controlnet().state_dict().items()}
    if flaw == "control lora":
        weights["lora_controlnet"] = torch.zeros(1)
    elif flaw == "cut":
        del weights["mid_block.resnets.0.conv1.weight"]
    else:
        weights["conv_in.weight"] = torch.zeros(24, 4, 3, 3)
    save_file(weights, tmp_path / "some_pose.safetensors")
    info = ControlInfo(
        name="some_pose", kinds=("pose",), path=tmp_path / "some_pose.safetensors", adapter="",
        width=16,
    )  # fmt: skip
    with pytest.raises(ModelCorrupt, match="some_pose cannot be read"):
        load_control(info, make_controlnet(), choose_device("cpu"))
