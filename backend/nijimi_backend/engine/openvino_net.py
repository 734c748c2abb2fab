"""A traced network, or attention's shape, enters; the same function, run by OpenVINO, leaves.

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

__all__ = ["MUST_GAIN", "has_openvino", "openvino_attention", "openvino_function"]

MUST_GAIN = 0.93
"""Of torch's time: what is not clearly quicker is not worth a change."""


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
    openvino = _openvino()
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
    config = _config(threads, in_bf16=_has_bf16(core) and not exact)
    request = core.compile_model(model, "CPU", config).create_infer_request()
    count = len(model.outputs)

    def run(*inputs: torch.Tensor) -> Any:
        given = [each.detach().contiguous().numpy() for each in inputs]
        made = request.infer(given, share_inputs=True)
        tensors = tuple(torch.from_numpy(made[n]) for n in range(count))
        return tensors if count > 1 else tensors[0]

    return run


def openvino_attention(
    batch: int, heads: int, queries: int, keys: int, width: int, threads: int
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """softmax(Q K^T / sqrt(width)) V of tensors of bfloat16 on the CPU, B x H x T x D each.

    OpenVINO makes one kernel of this graph, which never holds all scores. It wants heads after
    tokens, as diffusers has them in memory anyway: then nothing is copied. Raises as
    ``openvino_function``; one thread at a time may call it.
    """
    openvino = _openvino()
    ops: Any = importlib.import_module("openvino.opset13")
    sizes = [[batch, count, heads, width] for count in (queries, keys, keys)]
    given = [ops.parameter(size, openvino.Type.bf16) for size in sizes]
    query, key, value = (ops.convert(each, "f32") for each in given)
    scaled = ops.multiply(query, ops.constant(width**-0.5, openvino.Type.f32))
    scores = ops.matmul(
        ops.transpose(scaled, [0, 2, 1, 3]), ops.transpose(key, [0, 2, 3, 1]), False, False
    )
    mixed = ops.matmul(ops.softmax(scores, -1), ops.transpose(value, [0, 2, 1, 3]), False, False)
    result = ops.convert(ops.transpose(mixed, [0, 2, 1, 3]), "bf16")
    model = openvino.Model([result], given)
    core = openvino.Core()
    config = _config(threads, in_bf16=_has_bf16(core))
    request = core.compile_model(model, "CPU", config).create_infer_request()

    def seen(tensor: torch.Tensor) -> Any:
        # numpy has no bfloat16: the bytes are shared under another name.
        words = tensor.view(torch.uint16).numpy()
        return openvino.Tensor(words, openvino.Shape(list(tensor.shape)), openvino.Type.bf16)

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        # B x H x T x D -> B x T x H x D
        laid = [each.detach().transpose(1, 2).contiguous() for each in tensors]
        made = torch.empty_like(laid[0])
        for number, each in enumerate(laid):
            request.set_input_tensor(number, seen(each))
        request.set_output_tensor(0, seen(made))
        request.infer()
        # B x T x H x D -> B x H x T x D
        return made.transpose(1, 2)

    return run


def _openvino() -> Any:
    """The package, which tells nobody."""
    # None stands for a module that cannot be imported, and OpenVINO has a stand-in for that.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    return importlib.import_module("openvino")


def _config(threads: int, *, in_bf16: bool) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
    }


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
