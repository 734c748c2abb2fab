"""A subject's name enters; cut-out drawings of it leave, from packages that anyone may use.

Sources: Noto Color Emoji (SIL Open Font Licence 1.1; Debian's ``fonts-noto-color-emoji``), drawn
by code point, and Open Clip Art (public domain; Debian's ``openclipart-svg``), found by file name.
A machine that has neither takes them from the file that ``PACKED`` names (``pack``).
"""

from __future__ import annotations

import colorsys
import functools
import importlib.util
import io
import os
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "HUES",
    "PACKED",
    "SUBJECTS",
    "Subject",
    "above",
    "cut_out",
    "missing_sources",
    "pack",
    "pick",
    "recoloured",
    "sources",
]

EMOJI_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
CLIPART = Path("/usr/share/openclipart/svg")
_EMOJI_PX = 109
"""The one size that the font's bitmaps have."""

PACKED = "NIJIMI_CUT_OUTS"
"""The environment variable that names a file of ``pack``, for all processes that render."""

_CLIPART_PX = 192
_MAX_CLIPART = 8

HUES = {"red": 0.0, "orange": 0.08, "yellow": 0.14, "green": 0.33, "blue": 0.6, "purple": 0.77,
        "pink": 0.91}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Subject:
    """``emoji``: its drawings. ``where``: ground, air or water. ``hues``: may be of any colour."""

    emoji: str
    where: str = "ground"
    hues: bool = False
    words: tuple[str, ...] = ()


SUBJECTS: dict[str, Subject] = {
    "cat": Subject(emoji="🐈🐱"),
    "dog": Subject(emoji="🐕🐶🐩"),
    "horse": Subject(emoji="🐎🐴"),
    "cow": Subject(emoji="🐄🐮"),
    "pig": Subject(emoji="🐖🐷"),
    "rabbit": Subject(emoji="🐇🐰"),
    "fox": Subject(emoji="🦊"),
    "bear": Subject(emoji="🐻"),
    "lion": Subject(emoji="🦁"),
    "elephant": Subject(emoji="🐘"),
    "penguin": Subject(emoji="🐧"),
    "owl": Subject(emoji="🦉"),
    "duck": Subject(emoji="🦆"),
    "fish": Subject(emoji="🐟🐠🐡", where="water", hues=True),
    "whale": Subject(emoji="🐋🐳", where="water"),
    "turtle": Subject(emoji="🐢"),
    "frog": Subject(emoji="🐸"),
    "butterfly": Subject(emoji="🦋", where="air", hues=True),
    "dragon": Subject(emoji="🐉🐲", hues=True),
    "apple": Subject(emoji="🍎🍏"),
    "banana": Subject(emoji="🍌"),
    "strawberry": Subject(emoji="🍓"),
    "carrot": Subject(emoji="🥕"),
    "mushroom": Subject(emoji="🍄", hues=True),
    "pizza": Subject(emoji="🍕"),
    "cake": Subject(emoji="🎂🍰"),
    "cup": Subject(emoji="☕🍵", hues=True),
    "car": Subject(emoji="🚗🚙", hues=True),
    "bus": Subject(emoji="🚌", hues=True),
    "train": Subject(emoji="🚂🚆", hues=True),
    "bicycle": Subject(emoji="🚲", hues=True),
    "airplane": Subject(emoji="🛩", where="air", words=("an airplane", "a plane")),
    "rocket": Subject(emoji="🚀", where="air"),
    "boat": Subject(emoji="⛵", where="water"),
    "castle": Subject(emoji="🏰"),
    "cactus": Subject(emoji="🌵"),
    "sunflower": Subject(emoji="🌻"),
    "rose": Subject(emoji="🌹"),
    "tulip": Subject(emoji="🌷", hues=True),
    "snowman": Subject(emoji="⛄"),
    "robot": Subject(emoji="🤖", hues=True),
    "ghost": Subject(emoji="👻", where="air"),
    "crown": Subject(emoji="👑"),
    "hat": Subject(emoji="🎩", hues=True),
    "umbrella": Subject(emoji="☂", hues=True),
    "guitar": Subject(emoji="🎸", hues=True),
    "book": Subject(emoji="📕", hues=True),
    "balloon": Subject(emoji="🎈", where="air", hues=True),
    "star": Subject(emoji="⭐", where="air", hues=True),
    "heart": Subject(emoji="❤", where="air", hues=True),
}  # fmt: skip


def above(grey: Image.Image, level: int) -> Image.Image:
    """255 where it is more than ``level``, else 0."""
    return grey.point([255 * (value > level) for value in range(256)])


@functools.cache
def sources(name: str) -> tuple[str, ...]:
    """What can be drawn of a subject: emoji, then files whose name begins with its name."""
    if packed := os.environ.get(PACKED):
        with zipfile.ZipFile(packed) as archive:
            # emoji-00.png, then clipart-00.png: in the order that they were packed in.
            entries = [each for each in archive.namelist() if each.startswith(f"{name}/")]
        return tuple(f"{each.split('/')[1].split('-')[0]}:packed/{each}" for each in entries)
    subject = SUBJECTS[name]
    found = [f"emoji:{letter}" for letter in subject.emoji]
    files = [path for known in (name, f"{name}s") for path in _clipart_files().get(known, ())]
    if files:
        # Spread over the folder: neighbours by name are often copies of one drawing.
        step = max(1, len(files) // _MAX_CLIPART)
        found += [f"clipart:{path}" for path in files[::step][:_MAX_CLIPART]]
    return tuple(found)


@functools.cache
def cut_out(source: str) -> Image.Image | None:
    """RGBA, cropped to what is drawn; None for what cannot be drawn or is nearly empty."""
    kind, _, what = source.partition(":")
    if what.startswith("packed/"):
        with zipfile.ZipFile(os.environ[PACKED]) as archive:
            return Image.open(io.BytesIO(archive.read(what.removeprefix("packed/")))).copy()
    image = _emoji(what) if kind == "emoji" else _clipart(Path(what))
    if image is None:
        return None
    alpha = np.asarray(image)[..., 3]
    box = above(image.getchannel("A"), 24).getbbox()
    if box is None or (alpha > 128).mean() < 0.06:
        return None
    # A drawing that fills its whole sheet has a background of its own.
    edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    if kind == "clipart" and ((edge > 128).mean() > 0.5 or not _is_clear(image)):
        return None
    return image.crop(box)


def pack(path: Path) -> int:
    """Write all cut-outs into one file, so that the same seeds make the same examples by it.

    Returns how many there are.
    """
    count = 0
    with zipfile.ZipFile(path, "w") as archive:
        for name in SUBJECTS:
            for n, source in enumerate(sources(name)):
                if (image := cut_out(source)) is None:
                    continue
                data = io.BytesIO()
                image.save(data, "PNG")
                archive.writestr(f"{name}/{source.partition(':')[0]}-{n:02}.png", data.getvalue())
                count += 1
    return count


def recoloured(image: Image.Image, hue: str) -> Image.Image | None:
    """Every strongly coloured pixel in another hue; light, shade and grey stay.

    None where too little of it has a colour for that to be its colour.
    """
    rgba = np.asarray(image).astype(np.float32) / 255
    hsv = np.asarray(image.convert("RGB").convert("HSV")).astype(np.float32) / 255
    coloured = np.clip((hsv[..., 1] - 0.25) / 0.2, 0, 1)[..., None]
    solid = rgba[..., 3] > 0.5
    if not solid.any() or coloured[solid].mean() < 0.4:
        return None
    target = np.array(colorsys.hsv_to_rgb(HUES[hue], 0.85, 1.0), dtype=np.float32)
    value = hsv[..., 2:3]
    if hue in ("yellow", "pink", "orange"):
        value = 0.35 + 0.65 * value
    white = np.ones(3, dtype=np.float32)
    saturation = np.clip(hsv[..., 1:2] * 1.15, 0, 1)
    painted = value * (white + (target - white) * saturation)
    rgb = rgba[..., :3] + (painted - rgba[..., :3]) * coloured
    out = np.concatenate([rgb, rgba[..., 3:]], axis=2)
    return Image.fromarray((out * 255).clip(0, 255).astype(np.uint8), "RGBA")


@functools.cache
def _clipart_files() -> dict[str, list[Path]]:
    """Drawings by the first word of their file's name, without numbers."""
    found: dict[str, list[Path]] = {}
    if importlib.util.find_spec("resvg_py") is None:
        return found
    for path in sorted(CLIPART.rglob("*.svg")):
        if path.stat().st_size < 200_000:
            word = path.stem.lower().split("_")[0].rstrip("0123456789")
            found.setdefault(word, []).append(path)
    return found


def missing_sources() -> list[str]:
    """What the full catalogue needs and this machine lacks, as packages to install."""
    missing: list[str] = []
    if os.environ.get(PACKED):
        return missing
    if not EMOJI_FONT.exists():
        missing.append("Debian's fonts-noto-color-emoji")
    if not CLIPART.is_dir():
        missing.append("Debian's openclipart-svg")
    if importlib.util.find_spec("resvg_py") is None:
        missing.append("pip's resvg-py")
    return missing


def pick(name: str, rng: random.Random) -> Image.Image | None:
    """One drawing of a subject; emoji more often, being the clearest."""
    known = [source for source in sources(name) if cut_out(source) is not None]
    if not known:
        return None
    weights = [2.0 if source.startswith("emoji") else 1.0 for source in known]
    return cut_out(rng.choices(known, weights)[0])


def _is_clear(image: Image.Image) -> bool:
    """Whether it is a solid drawing in colour: outlines alone say little at this size."""
    rgba = np.asarray(image)
    solid = rgba[..., 3] > 128
    saturation = np.asarray(image.convert("RGB").convert("HSV"))[..., 1][solid]
    return bool(solid.mean() > 0.2 and saturation.size and saturation.mean() > 50)


def _emoji(letter: str) -> Image.Image | None:
    if not EMOJI_FONT.exists():
        return None
    font = ImageFont.truetype(str(EMOJI_FONT), _EMOJI_PX)
    image = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(image).text((8, 16), letter + "\ufe0f", font=font, embedded_color=True)
    return image


def _clipart(path: Path) -> Image.Image | None:
    import resvg_py

    try:
        data = resvg_py.svg_to_bytes(svg_path=str(path), width=_CLIPART_PX)
        image = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    except (ValueError, OSError):
        return None
    if image.height > 4 * _CLIPART_PX:
        return None
    return image
