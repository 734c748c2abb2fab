"""Small models of the real layout, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    write_tiny_model(folder / "tiny-lora", lora=True)
    write_tiny_model(folder / "tiny-inpaint", inpaint=True)
    write_tiny_model(folder / "tiny-full", prediction_type="epsilon", full_vae=True)
    return folder
