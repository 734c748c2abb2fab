"""The text of a picture file enters; the docker's values that it was made with leave.

Files of the web UIs and of Nijimi carry it: drop one on the docker to go on from there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from pathlib import Path

from nijimi_protocol.picture_info import params_from_info

from ..texts import tr
from .settings import Settings

__all__ = ["follow_picture", "read_text"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST_BYTES = 1_000_000

_NAMES = (
    "prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "seed", "strength",
    "clip_skip", "sampler",
)  # fmt: skip


def read_text(path: str) -> str:
    """What the file says of how it was made, "" where it says nothing. Pixels are not read.

    Qt reads such texts, too, but makes one line of them. PNG (third edition), 11.3.3: tEXt, zTXt
    and iTXt; what unpacks to more than ``_MOST_BYTES`` is no text of a painter's.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(8) != _SIGNATURE:
                return ""
            while len(head := file.read(8)) == 8:
                size, kind = struct.unpack(">I4s", head)
                if kind not in _TEXTS or size > _MOST_BYTES:
                    file.seek(size + 4, 1)
                    continue
                if (text := _text_of(kind, file.read(size))) is not None:
                    return text
                file.seek(4, 1)
    except (OSError, UnicodeDecodeError, ValueError, zlib.error):
        return ""
    return ""


def _text_of(kind: bytes, data: bytes) -> str | None:
    """The text of one chunk, if it is the one that is looked for."""
    key, _, rest = data.partition(b"\0")
    if key != b"parameters":
        return None
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _unpacked(rest[1:]).decode("latin-1")
    is_packed, rest = rest[:1] == b"\1", rest[2:]
    _language, _, rest = rest.partition(b"\0")
    _title, _, words = rest.partition(b"\0")
    return (_unpacked(words) if is_packed else words).decode("utf-8")


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MOST_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError("a text that unpacks to more than anybody writes")
    return text


def follow_picture(
    text: str, settings: Settings, models: Collection[str], vaes: Collection[str] = ()
) -> tuple[str, str] | None:
    """Take over what the text says. A sentence and what to do, where not all of it could be."""
    try:
        found = params_from_info(text, settings.params())
    except ValueError:
        return (
            tr("This picture carries no settings."),
            tr("Drop a PNG that Nijimi or a web UI made."),
        )
    for name in _NAMES:
        settings.set(name, getattr(found, name))
    if found.vae in vaes:
        settings.set("vae", found.vae)
    if found.model in models:
        settings.set("model", found.model)
    elif found.model and found.model != settings.get("model"):
        return (
            tr("The picture's model {name} is not here.", name=found.model),
            tr("Its other settings were taken over."),
        )
    return None
