"""What a stranger may hand to the backend: files and names that are meant to harm."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from nijimi_backend.cli import main
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.errors import BadImage, ModelMissing, NijimiError
from nijimi_backend.models.library import open_library
from nijimi_backend.picture_files import read_info, read_picture
from PIL import Image, PngImagePlugin

from tests.support.tiny_model import write_tiny_model


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (3 * 8 + 1) * 8)
    body = b"".join(chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + body
        + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A model that lies beside the folder of models, not in it."""
    write_tiny_model(tmp_path / "private" / "secret")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize(
    "name", ["../private/secret", "..\\private\\secret", "./../private/secret", "secret/../secret"]
)
def test_a_model_s_name_leads_nowhere_but_to_the_folder(secret: Path, name: str) -> None:
    with pytest.raises(ModelMissing):
        open_engine(name, secret, "cpu", library=open_library(secret))


def test_a_link_in_the_folder_is_the_user_s_own_choice(secret: Path) -> None:
    (secret / "linked").symlink_to(secret.parent / "private" / "secret")
    assert "linked" in [model.name for model in open_library(secret).models()]


def test_a_picture_that_unpacks_its_text_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    text = zlib.compress(b"a" * 50_000_000, 9)
    path.write_bytes(_png(8, 8, _chunk(b"zTXt", b"parameters\0\0" + text)))
    assert path.stat().st_size < 100_000
    with pytest.raises((NijimiError, ValueError)):
        read_info(path)
    assert main(["render", "--like", str(path), "-o", str(tmp_path / "x.png")]) == 2


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(_png(2**30, 2**30))
    with pytest.raises(BadImage):
        read_picture(path)


def test_the_words_in_a_picture_are_words(tmp_path: Path) -> None:
    """A prompt from a file names no file: only wildcards and LoRAs of the user's own folders."""
    path = tmp_path / "words.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "<lora:../../etc/passwd:1> __../../etc/passwd__\nSteps: 1, Seed: 3")
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)
    write_tiny_model(tmp_path / "models" / "tiny")
    words = ["render", "--like", str(path), "-o", str(tmp_path / "out.png"), "--size", "64x64"]
    status = main([*words, "--model", "tiny", "--models-dir", str(tmp_path / "models")])
    # Whether told or passed over, nothing but the words of the prompt may be left of it.
    assert status in (0, 2)
    if status == 0:
        assert "root:" not in read_info(tmp_path / "out.png")
