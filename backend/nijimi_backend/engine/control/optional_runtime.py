"""An optional package's name enters; its module leaves, or the sentence on how to get it."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import ModelMissing

__all__ = ["optional_runtime"]


def optional_runtime(module: str, package: str, purpose: str) -> Any:
    """Raises ``ModelMissing``, which begins with ``purpose``, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ModelMissing(
            f"{purpose} needs the package {package}, which is not installed.",
            'Run pip install "nijimi[pose]" in Nijimi\'s environment.',
        ) from None
