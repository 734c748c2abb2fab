"""Prompts in a library: wildcards, embeddings and long texts, each encoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from nijimi_backend.engine.prompt.room import PromptRoom
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library
from nijimi_backend.models.loader import load_model
from nijimi_protocol.params import RenderParams

from tests.support.tiny_model import write_tiny_model


@pytest.fixture
def room(tmp_path: Path) -> PromptRoom:
    write_tiny_model(tmp_path / "models" / "tiny")
    wildcards = tmp_path / "models" / "wildcards" / "sea"
    wildcards.mkdir(parents=True)
    (wildcards / "boats.txt").write_text("# no boat\nkayak\n\n")
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path / "models" / "outside.txt").write_text("a secret")
    library = Library([tmp_path / "models"])
    return PromptRoom(load_model(library.find_model("tiny"), choose_device("cpu")), library)


def test_a_wildcard_is_a_line_of_its_file(room: PromptRoom) -> None:
    found = room.read(RenderParams(prompt="a __sea/boats__ at dawn"))
    assert found.positive.text == "a kayak at dawn"
    assert found.failures == ()


@pytest.mark.parametrize("name", ["../outside", "../../secret", "sea/../../outside", "..", "/"])
def test_a_wildcard_outside_its_folder_is_not_read(room: PromptRoom, name: str) -> None:
    found = room.read(RenderParams(prompt=f"a __{name}__ here"))
    assert "secret" not in found.positive.text
    assert len(found.failures) == 1
    assert "no wildcard file" in found.failures[0].sentence


def test_each_text_is_encoded_once(room: PromptRoom) -> None:
    params = RenderParams(prompt="a [cat|dog]", negative_prompt="fog", guidance_scale=3.0)

    def ask(params: RenderParams) -> int:
        made, failures = room.conditioning(
            room.read(params), params, range(8), 8, 0, guides=params.guidance_scale > 1.0
        )
        assert failures == ()
        assert len(made) == 8
        assert made[0].embeds.shape[0] == 2
        return room.encoded.misses

    assert ask(params) == 3
    assert ask(params) == 3
    assert ask(replace(params, prompt="a [cat|bird]")) == 4


def test_both_prompts_have_as_many_chunks(room: PromptRoom) -> None:
    params = RenderParams(prompt="a b c", negative_prompt="x " * 200, guidance_scale=3.0)
    made, _ = room.conditioning(room.read(params), params, [0], 1, 0, guides=True)
    assert made[0].embeds.shape == (2, 3 * 77, 16)
