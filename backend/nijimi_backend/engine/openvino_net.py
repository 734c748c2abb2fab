"""A traced network and example inputs enter; the same function, run by OpenVINO, leaves.

OpenVINO (Apache-2.0, optional) compiles a network for the processor at hand: nijimi-mini's UNet at
256 px takes 26 ms with it and 36 ms packed by torch, on two AMD cores in float32, and its outputs
differ by 1e-6. On two that multiply bfloat16 it takes 13 ms so, 19 in float32, and 30 packed by
torch; pictures then differ by 44 dB and more. Shapes are fixed, as they are for a traced function
anyway.

With the package openvino_telemetry beside it OpenVINO tells Intel of every import and conversion.
The installer leaves that package out, and here it counts as missing wherever it came from: nothing
leaves this machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["has_openvino", "openvino_function"]


def has_openvino() -> bool:
    """Whether the optional package is installed; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


def openvino_function(
    traced: bytes, examples: tuple[torch.Tensor, ...], threads: int, *, exact: bool = False
) -> Callable[..., Any]:
    """``traced``: a saved TorchScript module of float32 on the CPU that gives a tensor or a tuple.

    The function takes tensors of the examples' shapes and gives what the module gives; products are
    in bfloat16 where the processor multiplies that by itself and ``exact`` does not forbid it. One
    thread at a time may call it. Raises ImportError without the package, and RuntimeError for what
    OpenVINO cannot express.
    """
    # None stands for a module that cannot be imported, and OpenVINO has a stand-in for that.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    openvino: Any = importlib.import_module("openvino")
    frontends: Any = importlib.import_module("openvino.frontend")
    decoders: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with torch.no_grad():
        module: Any = torch.jit.load(io.BytesIO(traced)).eval()
        decoder = decoders.TorchScriptPythonDecoder(module, example_input=examples)
        frontend = frontends.FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    for parameter, example in zip(model.get_parameters(), examples, strict=True):
        parameter.set_partial_shape(openvino.PartialShape(list(example.shape)))
        # Whole timesteps are int64: numpy's name for it is what both know.
        parameter.set_element_type(openvino.Type(example.numpy().dtype))
    model.validate_nodes_and_infer_types()
    core = openvino.Core()
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if _has_bf16(core) and not exact else "f32",
    }
    request = core.compile_model(model, "CPU", config).create_infer_request()
    count = len(model.outputs)

    def run(*inputs: torch.Tensor) -> Any:
        given = [each.detach().contiguous().numpy() for each in inputs]
        made = request.infer(given, share_inputs=True)
        tensors = tuple(torch.from_numpy(made[n]) for n in range(count))
        return tensors if count > 1 else tensors[0]

    return run


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
