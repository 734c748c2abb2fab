"""A pickled file of weights enters; a .safetensors file of the same tensors leaves.

Pickles can hold programs. They are read by torch's restricted reader, which builds tensors and
plain containers and refuses everything else, in a process of its own with bounded memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import BadInput, ModelCorrupt
from .output_file import whole_file

__all__ = ["convert_pickle"]

_TIMEOUT_S = 1800
_ROOM_BYTES = 4 * 1024**3
"""What the reader's process may take besides four times the file: Python, torch, copies."""

_WORDS = ("layer_structure", "activation_func", "is_layer_norm", "activate_output")
"""What A1111 writes beside a hypernetwork's weights; no weight shows it."""

_MOST_GROWTH = 20
"""An archive that says it unpacks to more than so many times its size is no file of weights."""


def convert_pickle(source: Path, target: Path) -> int:
    """Convert and give the number of tensors. Raises ``BadInput`` or ``ModelCorrupt``.

    ``target`` appears whole or not at all.
    """
    if not source.is_file():
        raise BadInput(f"There is no file {source}.", "Check the path.")
    size = source.stat().st_size
    _check_archive(source, size)
    with whole_file(target) as beside:
        most_bytes = str(4 * size + _ROOM_BYTES)
        command = [sys.executable, "-c", _CHILD, str(source), str(beside), most_bytes]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelCorrupt(
                f"{source.name} was not converted: reading it took more than half an hour.",
                "Nothing of it was run. Look for a .safetensors form of it.",
            ) from None
        told = done.stdout.strip().splitlines()
        answer = cast("dict[str, Any]", json.loads(told[-1])) if told else {}
        if "tensors" not in answer:
            reason = str(answer.get("error") or "its reader was stopped: it wanted too much memory")
            raise ModelCorrupt(
                f"{source.name} was not converted: {reason}.",
                "Nothing of it was run. Look for a .safetensors form of it.",
            )
    return int(answer["tensors"])


def _check_archive(source: Path, size: int) -> None:
    """Refuse what unpacks to far more than it holds, before anything is unpacked."""
    if not zipfile.is_zipfile(source):
        return
    try:
        with zipfile.ZipFile(source) as archive:
            whole = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelCorrupt(f"{source.name} is damaged ({error}).", "Download it again.") from error
    if whole > _MOST_GROWTH * size:
        raise ModelCorrupt(
            f"{source.name} says that it unpacks to {whole:,} bytes from {size:,}: it is refused.",
            "Nothing of it was run. Look for a .safetensors form of it.",
        )


def tensors_of(value: object, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """All tensors in nested containers, by dotted names; the usual wrappers leave no name."""
    import torch

    found: dict[str, Any] = {}
    if isinstance(value, torch.Tensor):
        return {prefix or "emb_params": value}
    if depth > 8:
        return found
    if isinstance(value, (list, tuple)):
        # A hypernetwork's two for each width.
        value = dict(enumerate(cast("Sequence[object]", value)))
    if not isinstance(value, Mapping):
        return found
    for key, each in cast("Mapping[object, object]", value).items():
        # Textual inversions keep theirs under string_to_param["*"].
        silent = key in ("state_dict", "string_to_param", "params_ema", "params", "*")
        name = str(key)
        inner = prefix if silent else f"{prefix}.{name}" if prefix else name
        found.update(tensors_of(each, inner, depth + 1))
    return found


def words_of(value: object) -> dict[str, str]:
    """What a hypernetwork's file says beside its weights."""
    if not isinstance(value, Mapping):
        return {}
    given = cast("Mapping[object, object]", value)
    return {name: str(given[name]) for name in _WORDS if given.get(name) is not None}


def child(source: str, target: str, most_bytes: str) -> None:
    """The reader's process: prints one line of JSON."""
    import pickle

    import torch
    from safetensors.torch import save_file

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(most_bytes), int(most_bytes)))
    except (ImportError, ValueError, OSError):
        # Windows has no such limit; the restricted reader is the same.
        sys.stderr.write("memory is not limited on this system\n")
    try:
        value = torch.load(source, map_location="cpu", weights_only=True)
        tensors = tensors_of(value)
        kept = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
        if not kept:
            raise ValueError("it holds no tensors")
        metadata = {"format": "pt", "converted_from": Path(source).name, **words_of(value)}
        save_file(kept, target, metadata=metadata)
        answer: dict[str, Any] = {"tensors": len(kept)}
    except pickle.UnpicklingError:
        answer = {"error": "it holds more than numbers, which could be a program"}
    except (RuntimeError, ValueError, OSError, KeyError, EOFError, MemoryError) as error:
        lines = str(error).strip().splitlines()
        answer = {"error": (lines[0] if lines else type(error).__name__)[:200]}
    sys.stdout.write(json.dumps(answer) + "\n")


_CHILD = "import sys; from nijimi_backend.models.convert import child; child(*sys.argv[1:])"
