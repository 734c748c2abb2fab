"""Models in real Krita: what is dropped into the folder is listed, chosen and painted with."""

from __future__ import annotations

import shutil

import torch
from nijimi_installer.desktop.profile import KritaProfile
from safetensors.torch import save_file

from tests.support.tiny_model import write_tiny_model

from .session import Session

MINI = "nijimi mini (small)"


def test_a_model_that_is_dropped_in_is_chosen_and_painted_with(
    session: Session, profile: KritaProfile
) -> None:
    folder = profile.data_dir / "nijimi" / "models"
    session.go_live()
    session.wait_for(lambda: session.inside("listed_models") == [MINI])
    frames = session.inside("frames_shown")
    try:
        write_tiny_model(profile.root / "tiny-one")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(profile.root / "tiny-one", folder / "tiny-one")
        save_file({"lora_unet_x.lora_up.weight": torch.zeros(4, 4)}, folder / "ink.safetensors")
        (folder / "broken.safetensors").write_bytes(b"no model")
        session.wait_for(lambda: session.inside("listed_models") == [MINI, "tiny one (small)"], 10)
        assert session.inside("offered_adapters") == ["ink (lora)"]
        assert session.inside("choose_model", text="tiny one (small)") == "tiny-one"
        session.wait_for(lambda: session.inside("model_in_use") == "tiny-one", 30)
        session.stroke()
        session.wait_for(lambda: session.inside("frames_shown") > frames + 1, 20)
        assert session.inside("problem") == ""
    finally:
        session.inside("choose_model", text=MINI)
        session.wait_for(lambda: session.inside("model_in_use") == "nijimi-mini", 30)
        shutil.rmtree(folder, ignore_errors=True)
    session.wait_for(lambda: session.inside("listed_models") == [MINI], 10)
