"""Small models of the real layout, written once a session; float32 on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nijimi_backend.models import device

from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    write_tiny_model(folder / "tiny-lora", lora=True)
    write_tiny_model(folder / "tiny-inpaint", inpaint=True)
    write_tiny_model(folder / "tiny-full", prediction_type="epsilon", full_vae=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def float32() -> Iterator[None]:
    """What is compared is compared in one type, also where a CPU is quicker in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_faster_on_cpu", lambda: torch.float32)
        yield
