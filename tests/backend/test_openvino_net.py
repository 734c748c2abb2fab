"""Traced networks as OpenVINO runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nijimi_backend.engine.frozen import frozen
from nijimi_backend.engine.openvino_net import has_openvino, openvino_function

from tests.backend.test_frozen import Two

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed here")


@needs_openvino
def test_openvino_gives_what_torch_gives() -> None:
    torch.manual_seed(0)
    network, traces = Two().eval(), list[bytes]()

    def keep(plain: Callable[..., Any], traced: bytes, _examples: Any) -> Callable[..., Any]:
        traces.append(traced)
        return plain

    examples = (torch.randn(1, 4, 16, 16), torch.tensor(7))
    frozen(network, examples, then=keep)
    function = openvino_function(traces[0], examples, 1, exact=True)
    for time_step in (3, 900):
        inputs = (torch.randn(1, 4, 16, 16), torch.tensor(time_step))
        with torch.inference_mode():
            for made, true in zip(function(*inputs), network(*inputs), strict=True):
                assert torch.allclose(made, true, rtol=1e-4, atol=1e-4)


TELLS_NOBODY = """
import sys
import torch
from nijimi_backend.engine.frozen import frozen
from nijimi_backend.engine.openvino_net import openvino_function

# What would tell is there, as with a plain `pip install openvino`, and must not be asked.
class Telling:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("openvino_telemetry"):
            print("asked for", name)
        return None

sys.meta_path.insert(0, Telling())
example = (torch.randn(1, 3, 8, 8),)
frozen(torch.nn.Conv2d(3, 3, 3), example, then=lambda _plain, traced, examples: print(
    openvino_function(traced, examples, 1)(*examples).shape))
"""


@needs_openvino
def test_nobody_is_told_that_openvino_was_used() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TELLS_NOBODY], capture_output=True, text=True,
        check=True, timeout=200,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["torch.Size([1, 3, 6, 6])"]
