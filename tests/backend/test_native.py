"""Functions in C: as near to exact arithmetic as torch's own, for every shape, and gone without
where they cannot be built."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nijimi_backend.engine.native import build as build_module
from nijimi_backend.engine.native.build import build
from nijimi_backend.engine.native.kernels import LARGEST_WIDTH, Kernels
from nijimi_backend.engine.native.provider import Native
from torch.nn.functional import gelu, scaled_dot_product_attention

from tests.support.tiles import needs_tiles

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc here")

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels(build())


def heads_of(batch: int, heads: int, queries: int, keys: int, width: int, seed: int = 5) -> Tensors:
    """As diffusers lays them: heads beside each other in memory."""
    generator = torch.Generator().manual_seed(seed)

    def one(count: int) -> torch.Tensor:
        made = torch.randn((batch, count, heads, width), generator=generator)
        return made.bfloat16().transpose(1, 2)

    return one(queries), one(keys), one(keys)


def by_ours(kernels: Kernels, given: Tensors) -> torch.Tensor:
    query, key, _ = given
    batch, heads, queries, width = query.shape
    threads = torch.get_num_threads()
    return kernels.attention(batch, heads, queries, key.shape[2], width, threads)(*given)


def exactly(given: Tensors) -> torch.Tensor:
    query, key, value = (each.double() for each in given)
    return scaled_dot_product_attention(query, key, value)


def mistakes(kernels: Kernels, given: Tensors) -> tuple[float, float]:
    """Ours and torch's, against exact arithmetic, root mean square."""
    exact = exactly(given)
    ours, torchs = (
        float((made.double() - exact).square().mean().sqrt())
        for made in (by_ours(kernels, given), scaled_dot_product_attention(*given))
    )
    return ours, torchs


@needs_tiles
@torch.inference_mode()
@pytest.mark.parametrize(
    ("batch", "heads", "queries", "keys", "width"),
    [
        (1, 8, 1024, 1024, 40), (1, 8, 1024, 77, 40), (1, 8, 256, 256, 80), (1, 8, 64, 77, 160),
        (2, 5, 256, 300, 64), (1, 1, 1, 1, 2), (1, 2, 33, 257, 48), (3, 2, 31, 32, LARGEST_WIDTH),
    ],
)  # fmt: skip
def test_attention_is_as_near_as_torchs(
    kernels: Kernels, batch: int, heads: int, queries: int, keys: int, width: int
) -> None:
    ours, torchs = mistakes(kernels, heads_of(batch, heads, queries, keys, width))
    assert ours < 1.25 * torchs + 1e-6


@needs_tiles
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(1, 4), st.integers(1, 90), st.integers(1, 600),
        st.integers(1, LARGEST_WIDTH // 2).map(lambda half: 2 * half),
    ),
    size=st.sampled_from([0.01, 1.0, 4.0, 30.0]),
)  # fmt: skip
@torch.inference_mode()
def test_attention_has_every_shape_and_range(
    kernels: Kernels, shape: tuple[int, int, int, int, int], size: float
) -> None:
    query, key, value = heads_of(*shape)
    given = (size * query, key, value)
    exact = exactly(given)
    worst = (by_ours(kernels, given).double() - exact).abs().max()
    # Of values that reach some 4: halves are rounded to 2^-9 of them, weights as well.
    assert float(worst) < 0.05


@needs_tiles
@torch.inference_mode()
@pytest.mark.parametrize("keys", [300, 1000])
def test_scores_that_grow_along_the_keys_are_followed(kernels: Kernels, keys: int) -> None:
    query, key, value = heads_of(1, 2, 40, keys, 32)
    # From next to nothing to 300 and more: what was taken off before is far too little.
    query, key = query.abs(), (key.abs() * torch.linspace(0.01, 60, keys)[:, None]).bfloat16()
    for one in (key, key.flip(2), -key, torch.cat([key[:, :, ::2], -key[:, :, 1::2]], dim=2)):
        ours, torchs = mistakes(kernels, (query, one, value))
        assert ours < 1.25 * torchs + 1e-6


@needs_tiles
@torch.inference_mode()
@pytest.mark.parametrize("keys", [5, 40])
def test_scores_that_are_all_far_below_nothing_count(kernels: Kernels, keys: int) -> None:
    query, key, value = heads_of(1, 2, 40, keys, 32)
    # Some -400: what fills the last tile up scores 0, and must not be what others are weighed by.
    given = (query * 0 + 8, (key / 8 - 9).bfloat16(), value)
    ours, torchs = mistakes(kernels, given)
    assert ours < 1.25 * torchs + 1e-6


@needs_tiles
@torch.inference_mode()
def test_attention_reads_any_layout(kernels: Kernels) -> None:
    usual = heads_of(2, 3, 50, 70, 24)
    expected = by_ours(kernels, usual)
    apart: Tensors = (usual[0].contiguous(), usual[1].contiguous(), usual[2].contiguous())
    assert torch.equal(by_ours(kernels, apart), expected)
    # Cut out of wider rows, and out of rows whose length is odd.
    for room in (26, 25):
        cut = [torch.zeros(2, each.shape[2], 3, room).bfloat16() for each in usual]
        for wide, each in zip(cut, usual, strict=True):
            wide[..., :24] = each.transpose(1, 2)
        query, key, value = (wide[..., :24].transpose(1, 2) for wide in cut)
        assert torch.equal(by_ours(kernels, (query, key, value)), expected)


@needs_tiles
@torch.inference_mode()
def test_what_is_no_number_stays_none_in_its_head(kernels: Kernels) -> None:
    query, key, value = heads_of(1, 2, 40, 40, 32)
    query[0, 1, 3, 0] = float("nan")
    made = by_ours(kernels, (query, key, value))
    assert torch.isnan(made[0, 1, 3]).all()
    assert torch.isfinite(made[0, 0]).all()
    assert torch.isfinite(made[0, 1, 4:]).all()


@needs_tiles
@pytest.mark.parametrize("width", [39, LARGEST_WIDTH + 2])
def test_heads_that_do_not_fit_are_refused(kernels: Kernels, width: int) -> None:
    with pytest.raises(RuntimeError, match="not even, or too wide"):
        kernels.attention(1, 2, 32, 32, width, 2)


@needs_tiles
@settings(max_examples=80, deadline=None)
@given(
    count=st.one_of(st.integers(1, 200), st.sampled_from([32768, 32769, 100_001])),
    low=st.floats(-300, 300),
    span=st.floats(0, 300),
)
@torch.inference_mode()
def test_bytes_stand_for_what_was_read(
    kernels: Kernels, count: int, low: float, span: float
) -> None:
    x = (low + span * torch.rand(count, generator=torch.Generator().manual_seed(count))).bfloat16()
    made = kernels.rounded(x)
    assert 0 <= made.zero <= 254
    # Zero is a byte of its own, and the whole range is used.
    exact = x.double()
    least, most = min(float(exact.min()), 0.0), max(float(exact.max()), 0.0)
    assert made.scale == pytest.approx(max((most - least) / 254, 1e-12), rel=1e-6)
    error = ((made.values.double() - made.zero) * made.scale - exact).abs().max()
    assert float(error) <= 0.5001 * made.scale * (1 + 1e-5)


@needs_tiles
@torch.inference_mode()
def test_bytes_lie_as_what_was_read(kernels: Kernels) -> None:
    x = torch.randn(2, 5, 7, 9).bfloat16().to(memory_format=torch.channels_last)
    made = kernels.rounded(x)
    assert made.values.is_contiguous(memory_format=torch.channels_last)
    told = (made.values.double() - made.zero) * made.scale
    assert float((told - x.double()).abs().max()) <= 0.501 * made.scale


@needs_tiles
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_has_no_scale(kernels: Kernels, value: float) -> None:
    x = torch.randn(1000).bfloat16()
    x[500] = value
    assert kernels.rounded(x).scale != kernels.rounded(x).scale


@needs_tiles
@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 300, 128), (2, 3, 64), (1, 640)])
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_a_gate_is_rounded_once(kernels: Kernels, shape: tuple[int, ...], size: float) -> None:
    x = (size * torch.randn(*shape)).bfloat16()
    assert kernels.takes_gate(x)
    first, gate = x.double().chunk(2, dim=-1)
    made, exact = kernels.gated(x).double(), first * gelu(gate)
    assert made.shape == exact.shape
    # Half of the last of 8 bits, and what the error function is off by.
    assert bool(((made - exact).abs() <= exact.abs() / 256 + 1e-6 * first.abs()).all())


@needs_tiles
def test_gates_of_other_shapes_stay_torchs(kernels: Kernels) -> None:
    x = torch.randn(4, 128).bfloat16()
    assert not kernels.takes_gate(x.float())
    assert not kernels.takes_gate(x[:, :96])
    assert not kernels.takes_gate(torch.randn(4, 96).bfloat16())
    assert not kernels.takes_gate(torch.tensor(1.0).bfloat16())


def group_norm(channels: int, groups: int) -> torch.nn.GroupNorm:
    torch.manual_seed(channels)
    norm = torch.nn.GroupNorm(groups, channels).requires_grad_(False)
    norm.weight.normal_(1.0, 0.3)
    norm.bias.normal_()
    return norm.bfloat16()


@needs_tiles
@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3), side=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.integers(1, 8), size=st.integers(1, 5), mean=st.sampled_from([0.0, -3.0, 100.0]),
    adds=st.booleans(), with_silu=st.booleans(),
)  # fmt: skip
@torch.inference_mode()
def test_groups_are_normalised_and_rounded_once(
    kernels: Kernels, batch: int, side: tuple[int, int], groups: int, size: int, mean: float,
    adds: bool, with_silu: bool,
) -> None:  # fmt: skip
    channels = 16 * groups * size
    norm = group_norm(channels, groups)
    x = (mean + torch.randn(batch, channels, *side)).bfloat16()
    x = x.to(memory_format=torch.channels_last)
    add = torch.randn(batch, channels).bfloat16() if adds else None
    assert kernels.takes_picture(x, norm)
    made = kernels.group_normed(x, norm, with_silu=with_silu, add=add)
    exact = x.double() if add is None else x.double() + add.double()[..., None, None]
    weight, bias = norm.weight.double(), norm.bias.double()
    exact = torch.nn.functional.group_norm(exact, groups, weight, bias, norm.eps)
    exact = torch.nn.functional.silu(exact) if with_silu else exact
    assert made.is_contiguous(memory_format=torch.channels_last)
    # Half of the last of 8 bits, SiLU's own mistake, and sums in float32 of what is near 100.
    assert bool(((made.double() - exact).abs() <= exact.abs() / 200 + 1e-3).all())


@needs_tiles
@torch.inference_mode()
@pytest.mark.parametrize("shape", [(2, 77, 320), (1, 1, 16), (3, 1280)])
@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_rows_are_normalised_and_rounded_once(
    kernels: Kernels, shape: tuple[int, ...], mean: float
) -> None:
    norm = torch.nn.LayerNorm(shape[-1]).requires_grad_(False)
    norm.weight.normal_(1.0, 0.3)
    norm.bias.normal_()
    exactly = torch.nn.LayerNorm(shape[-1]).double().requires_grad_(False)
    exactly.load_state_dict(norm.bfloat16().state_dict())
    x = (mean + torch.randn(*shape)).bfloat16()
    assert kernels.takes_rows(x, norm)
    made, exact = kernels.row_normed(x, norm).double(), exactly(x.double())
    assert bool(((made - exact).abs() <= exact.abs() / 200 + 1e-4).all())


@needs_tiles
def test_norms_of_other_shapes_stay_torchs(kernels: Kernels) -> None:
    norm, x = group_norm(32, 2), torch.randn(1, 32, 4, 4).bfloat16()
    assert not kernels.takes_picture(x, norm)
    lying = x.to(memory_format=torch.channels_last)
    assert kernels.takes_picture(lying, norm)
    assert not kernels.takes_picture(lying, torch.nn.GroupNorm(2, 32, affine=False).bfloat16())
    assert not kernels.takes_picture(lying, torch.nn.GroupNorm(2, 32))
    assert not kernels.takes_picture(lying.float(), norm)
    assert not kernels.takes_picture(lying[:, :24], torch.nn.GroupNorm(2, 24).bfloat16())
    rows = torch.randn(4, 48).bfloat16()
    assert kernels.takes_rows(rows, torch.nn.LayerNorm(48).bfloat16())
    assert not kernels.takes_rows(rows, torch.nn.LayerNorm(48, bias=False).bfloat16())
    assert not kernels.takes_rows(rows, torch.nn.LayerNorm([4, 48]).bfloat16())
    assert not kernels.takes_rows(rows[:, :40], torch.nn.LayerNorm(40).bfloat16())


@needs_gcc
@pytest.mark.parametrize("name", ["attention.c", "gating.c", "norms.c", "rounding.c"])
def test_the_files_compile_without_a_warning(name: str) -> None:
    source = Path(build_module.__file__).parent / name
    done = subprocess.run(
        ["gcc", "-std=c17", "-march=sapphirerapids", "-fopenmp", "-Wall", "-Wextra", "-Wshadow",
         "-O3", "-S", "-o", "-", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "sapphirerapids" in done.stderr:
        pytest.skip("this gcc, or its processor, knows no AMX")
    assert (done.returncode, done.stderr) == (0, "")


@needs_tiles
def test_what_was_built_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    run = subprocess.run

    def seen(command: list[str], **options: Any) -> Any:
        modes.extend(each.stat().st_mode & 0o777 for each in tmp_path.iterdir())
        return run(command, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(build_module.subprocess, "run", seen)
    build()
    assert set(modes) == {0o700}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", [None, "exit 1", "echo no such instruction >&2; exit 1"])
def test_without_a_compiler_that_works_it_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command = tmp_path / "bin" / "gcc"
    command.parent.mkdir()
    if script is not None:
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}")
    with pytest.raises(RuntimeError, match="C compiler"):
        build()
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]


def test_where_the_system_keeps_tiles_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "compiler", lambda: "gcc")
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: False)
    with pytest.raises(RuntimeError, match="keeps AMX"):
        build()


def _makes(error: Exception | None = None) -> tuple[list[str], Callable[[], Kernels]]:
    """Where it was called, and what stands for building them."""
    called: list[str] = []

    def make() -> Kernels:
        called.append(threading.current_thread().name)
        if error is not None:
            raise error
        return Kernels.__new__(Kernels)

    return called, make


def test_they_are_built_once_and_not_by_who_asks() -> None:
    called, make = _makes()
    native = Native(make, lambda: True)
    native.wait()
    assert native.kernels is None
    native.begin()
    native.begin()
    native.wait()
    assert native.kernels is not None
    assert called == ["nijimi-native"]


def test_without_tiles_nothing_is_built() -> None:
    called, make = _makes()
    native = Native(make, lambda: False)
    native.begin()
    native.wait()
    assert native.kernels is None
    assert not called


def test_what_cannot_be_built_is_gone_without(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    called, make = _makes(RuntimeError("there is no C compiler, such as gcc"))
    native = Native(make, lambda: True)
    native.begin()
    native.begin()
    native.wait()
    assert native.kernels is None
    assert len(called) == 1
    assert "no C compiler" in caplog.text
