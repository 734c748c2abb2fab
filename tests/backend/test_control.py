"""Control layers: the hint is what the networks were trained on, and each steers as it should."""

# Which networks are joined is asked of themselves.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter
from nijimi_backend.engine.asks import finish
from nijimi_backend.engine.control.hints import make_hint
from nijimi_backend.engine.denoiser import Guidance, Start
from nijimi_backend.engine.engine import Engine, open_engine
from nijimi_backend.engine.frozen import as_it_is
from nijimi_backend.engine.prompt.encode import Conditioning
from nijimi_backend.engine.request import Control, FrameRequest
from nijimi_backend.engine.samplers import LcmRun
from nijimi_backend.engine.sampling import Schedule
from nijimi_backend.errors import BadInput, ModelCorrupt, ModelMissing
from nijimi_backend.models import controls as controls_module
from nijimi_backend.models.controls import find_control, list_controls, load_control
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.geometry import Extent
from nijimi_protocol.inpaint import InpaintMode, InpaintParams
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.pose import Joint, Person

from tests.support.control_layers import STANDING, lined
from tests.support.tiny_control import (
    make_controlnet,
    write_adapter,
    write_controlnet,
)
from tests.support.tiny_model import write_tiny_model

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controlled")
    write_tiny_model(folder / "tiny", attention_first=True)
    write_controlnet(folder / "controlnet" / "my-openpose")
    write_controlnet(folder / "controlnet" / "lines", kind="scribble")
    write_controlnet(folder / "controlnet" / "sd15_depth", width=768)
    write_controlnet(folder / "controlnet" / "some_inpaint")
    write_adapter(folder / "controlnet" / "t2iadapter_canny", in_channels=1)
    broken = write_controlnet(folder / "controlnet" / "broken_mlsd")
    (broken / "diffusion_pytorch_model.safetensors").write_bytes(b"not a header")
    (folder / "controlnet" / "torn_tile.safetensors").write_bytes(b"\xff" * 40)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return open_engine("tiny", folder, "cpu")


def _request(*controls: Control, **params: Any) -> FrameRequest:
    canvas = np.random.default_rng(0).integers(0, 255, (64, 64, 4), dtype=np.uint8)
    canvas[..., 3] = 255
    values: dict[str, Any] = {"prompt": "a red house", "seed": 5, **params}
    return FrameRequest(
        params=RenderParams(**values),
        extent=Extent(64, 64),
        canvas=canvas,
        canvas_version=1,
        controls=controls,
    )


def _pose(dx: float = 0.0, **values: Any) -> Control:
    body = tuple(Joint(joint.x / 8 + dx, joint.y / 8) for joint in STANDING)
    return Control(kind="pose", people=(Person(body=body),), **values)


def _scribble(version: int = 1, **values: Any) -> Control:
    layer = np.roll(lined((0, 0, 0, 0), (0, 0, 0, 255)), version, axis=0)
    return Control(kind="scribble", pixels=layer, version=version, **values)


def test_networks_are_known_by_configuration_name_and_shape(folder: Path) -> None:
    library = Library([folder])
    found = {
        info.name: (info.kinds, info.adapter, info.width)
        for info in list_controls(library.find_model("tiny"), library)
    }
    assert found == {
        "my-openpose": (("pose",), "", 16),
        "lines": (("scribble",), "", 16),
        "sd15_depth": (("depth",), "", 768),
        "some_inpaint": (("inpaint",), "", 16),
        "t2iadapter_canny": (("canny",), "full_adapter", 0),
        "broken_mlsd": (("mlsd",), "", 16),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("control_v11p_sd15_openpose_fp16", "pose"),
        ("control_v11f1p_sd15_depth", "depth"),
        ("control_v11p_sd15_normalbae", "normal"),
        ("t2iadapter_sketch_sd15v2", "scribble"),
        ("control_sd15_hed", "softedge"),
        ("something", ""),
    ],
)
def test_published_names_tell_the_kind(name: str, kind: str) -> None:
    assert controls_module._kind_of(name) == kind  # pyright: ignore[reportPrivateUsage]


def test_each_control_steers_and_the_pose_is_what_changes_it(engine: Engine) -> None:
    free = engine.render(_request()).pixels
    posed = engine.render(_request(_pose())).pixels
    assert not np.array_equal(free, posed)
    assert np.array_equal(posed, engine.render(_request(_pose())).pixels)
    assert not np.array_equal(posed, engine.render(_request(_pose(dx=9))).pixels)
    canny = Control(kind="canny", pixels=lined((0, 0, 0, 0), (0, 0, 0, 255)), version=3)
    assert not np.array_equal(free, engine.render(_request(canny)).pixels), "an adapter"


def test_a_new_pose_is_all_that_is_computed_again(engine: Engine) -> None:
    engine.render(_request(_pose(), _scribble()))
    stages = (engine.prompts.encoded, engine.encodings, engine.controls.hints)
    before = [stage.misses for stage in stages]
    engine.render(_request(_pose(dx=3), _scribble(scale=0.4)))
    prompts, encodings, hints = (stage.misses - n for stage, n in zip(stages, before, strict=True))
    assert (prompts, encodings, hints) == (0, 0, 1)


def test_scale_zero_an_empty_range_and_off_steps_change_nothing(engine: Engine) -> None:
    free = engine.render(_request(strength=1.0)).pixels
    for control in (_pose(scale=0.0), _pose(start=0.6, end=0.6), _pose(start=0.9, end=0.95)):
        assert np.array_equal(free, engine.render(_request(control, strength=1.0)).pixels)
    early = engine.render(_request(_pose(end=0.5), strength=1.0)).pixels
    whole = engine.render(_request(_pose(), strength=1.0)).pixels
    assert not np.array_equal(early, free)
    assert not np.array_equal(early, whole)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_several_controls_are_the_sum_of_their_residuals(
    engine: Engine, folder: Path, guidance: float
) -> None:
    """Against diffusers' own networks, called as its pipelines call them."""
    bundle: Any = engine._bundle  # pyright: ignore[reportPrivateUsage]
    batch = 2 if guidance > 1 else 1
    torch.manual_seed(3)
    latents, embeds = torch.randn(batch, 4, 8, 8), torch.randn(batch, 77, 16)
    when = torch.tensor(499)
    pose, scribble = _pose(scale=0.7), _scribble(scale=1.3)
    canny = Control(kind="canny", pixels=lined((0, 0, 0, 0), (0, 0, 0, 255)), scale=0.5)
    size = Extent(64, 64)
    with torch.inference_mode():
        steering, failed = engine.controls.prepare((pose, scribble, canny), size, size.bounds, size)
        assert not failed
        extras = steering.extras(latents, when, embeds, 0.0)
        assert extras is not None
        down: list[torch.Tensor] = []
        middle: torch.Tensor | None = None
        for name, control in (("my-openpose", pose), ("lines", scribble)):
            network: Any = ControlNetModel.from_pretrained(folder / "controlnet" / name)
            hint = torch.from_numpy(make_hint(control, size, size.bounds, size)) / 255.0
            more, mid = network(
                latents, when, encoder_hidden_states=embeds,
                controlnet_cond=hint.permute(2, 0, 1)[None].expand(batch, -1, -1, -1),
                conditioning_scale=control.scale, return_dict=False,
            )  # fmt: skip
            down = [a + b for a, b in zip(down, more, strict=True)] if down else list(more)
            middle = mid if middle is None else middle + mid
        adapter: Any = T2IAdapter.from_pretrained(folder / "controlnet" / "t2iadapter_canny")
        hint = torch.from_numpy(make_hint(canny, size, size.bounds, size)) / 255.0
        within = [0.5 * each for each in adapter(hint.permute(2, 0, 1)[None, :1])]
        assert middle is not None
        for ours, theirs in zip(extras.tensors, [*down, middle, *within], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)
        expected = bundle.unet(
            latents, when, encoder_hidden_states=embeds, down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            down_intrablock_additional_residuals=[each.clone() for each in within],
        ).sample  # fmt: skip
        schedule = Schedule.from_config(bundle.scheduler_config)
        run = LcmRun((499,), schedule)
        start = Start(latents=latents[:1], noise=latents[None, :1], run=run)
        guided = Guidance(by_step=[Conditioning(embeds=embeds[:1])], scale=1.0)
        ours = finish(engine.denoiser.predict(start, guided, latents[:1], 0, None, steering))
    if batch == 1:
        assert torch.allclose(ours, expected, atol=1e-4)


def test_guidance_and_controls_work_together(engine: Engine) -> None:
    free = engine.render(_request(guidance_scale=3.0)).pixels
    posed = engine.render(_request(_pose(), guidance_scale=3.0)).pixels
    assert not np.array_equal(free, posed)


@pytest.mark.parametrize(
    ("control", "error", "words"),
    [
        (
            Control(kind="depth", pixels=lined((0, 0, 0, 0), (9, 9, 9, 255))),
            ModelMissing,
            "sd1",
        ),
        (
            Control(kind="seg", pixels=lined((0, 0, 0, 0), (9, 9, 9, 255))),
            ModelMissing,
            "no seg",
        ),
        (
            Control(kind="mlsd", pixels=lined((0, 0, 0, 0), (9, 9, 9, 255))),
            ModelCorrupt,
            "mlsd",
        ),
        (Control(kind="scribble", version=77), BadInput, "no layer"),
    ],
)
def test_a_control_that_cannot_be_is_named_and_the_rest_goes_on(
    engine: Engine, control: Control, error: type[Exception], words: str
) -> None:
    posed = engine.render(_request(_pose()))
    both = engine.render(_request(_pose(), control))
    assert np.array_equal(posed.pixels, both.pixels)
    assert not posed.failures
    assert [type(each) for each in both.failures] == [error]
    assert words in both.failures[0].sentence
    assert both.failures[0].action


def test_a_network_that_is_dropped_in_is_found_at_the_next_frame(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    engine = open_engine("tiny", tmp_path, "cpu")
    assert engine.render(_request(_pose())).failures
    write_controlnet(tmp_path / "controlnet" / "openpose")
    assert not engine.render(_request(_pose())).failures


def test_a_network_with_bad_numbers_is_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", attention_first=True)
    network = make_controlnet()
    with torch.no_grad():
        network.conv_in.weight[0] = float("nan")
    network.save_pretrained(tmp_path / "controlnet" / "openpose")
    library = Library([tmp_path])
    model = library.find_model("tiny")
    unet = make_controlnet()
    with pytest.raises(ModelCorrupt, match="not finite"):
        load_control(find_control("pose", model, unet, library), unet, choose_device("cpu"))


def _inpaint_request(*controls: Control) -> FrameRequest:
    rows, columns = np.mgrid[0:64, 0:64]
    mask = ((np.hypot(rows - 32, columns - 32) < 14) * 255).astype(np.uint8)
    request = _request(
        *controls, mode=RenderMode.INPAINT, inpaint=InpaintParams(mode=InpaintMode.FILL)
    )
    return replace(request, mask=mask, mask_version=1)


def test_an_inpaint_control_sees_what_is_to_be_repainted_as_minus_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[npt.NDArray[Any]] = []
    embedded: Callable[..., Any] = engine.controls._embedded  # pyright: ignore[reportPrivateUsage]

    def spy(network: Any, hint: npt.NDArray[Any]) -> Any:
        seen.append(hint)
        return embedded(network, hint)

    monkeypatch.setattr(engine.controls, "_embedded", spy)
    picture = engine.render(_inpaint_request())
    assert not picture.failures
    hint = seen[0]
    middle = hint.shape[0] // 2
    assert (hint[middle, middle] == -1.0).all()
    assert hint[0, 0].min() >= 0.0
    assert picture.pixels[0, 0, 3] == 0


def test_controls_steer_inside_a_selection_too(engine: Engine) -> None:
    free = engine.render(_inpaint_request()).pixels
    posed = engine.render(_inpaint_request(_pose())).pixels
    assert not np.array_equal(free, posed)
    missing = engine.render(_inpaint_request(Control(kind="scribble", version=5)))
    assert len(missing.failures) == 1


def test_layers_that_read_the_same_are_one_product_in_control_networks_too(folder: Path) -> None:
    library = Library([folder])
    joined, plain = (
        Engine(
            load_model(library.find_model("tiny"), choose_device("cpu")), library, as_it_is,
            joins=joins,
        )
        for joins in (True, False)
    )  # fmt: skip
    silent = plain.render(_request(prompt="a boat")).pixels
    for prompt in ("a boat", "a tree", "a boat"):
        frame = _request(_scribble(scale=2.0), prompt=prompt, guidance_scale=6.0)
        made, expected = (each.render(frame).pixels for each in (joined, plain))
        assert np.abs(made.astype(int) - expected).max() <= 1
        assert not np.array_equal(expected, silent)
    networks: list[Any] = [*joined.controls._networks, *plain.controls._networks]
    assert [each._joined is not None and len(each._joined) > 0 for each in networks] == [
        True,
        False,
    ]
