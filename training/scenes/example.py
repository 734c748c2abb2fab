"""A seed enters; everything that one training example needs leaves: pictures, words, truth.

A landscape, with a subject from the catalogue or with people in it, or a subject on plain paper:
so that a model learns what things look like before it learns where they stand. With ``anywhere``
some subjects are in landscapes as full as those without any, at any height, be they whales: who
fills a selection of a picture asks for things where no scene of ours has them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from .caption import caption_of, place_of
from .draw import draw_plain, draw_sketch
from .people import Person, draw_person, random_person
from .spec import PALETTES, Scene, random_scene
from .style import SIZE_PX, STYLES, in_style, warp
from .subjects import HUES, SUBJECTS, above, pick, recoloured

__all__ = ["Example", "make_example"]

_PAPER = {"white": (250, 250, 248), "grey": (196, 198, 202), "light blue": (182, 214, 240),
          "light green": (194, 226, 186), "yellow": (250, 232, 150), "pink": (250, 208, 220),
          "dark blue": (38, 50, 92), "black": (26, 26, 30)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Example:
    """``picture`` and ``sketch``: RGB, 256 x 256.

    ``mask``: 255 where a subject, a house or people are.
    ``subject`` and ``colour`` are what a judge must find, or empty. ``people``: true skeletons.
    """

    picture: Image.Image
    sketch: Image.Image
    mask: Image.Image
    captions: tuple[str, ...]
    subject: str = ""
    colour: str = ""
    people: tuple[Person, ...] = ()


def make_example(seed: int, captions: int = 4, *, anywhere: float = 0.0) -> Example:
    """The example of one seed: the same seed, the same example.

    ``anywhere``: the part of the subjects that are; all other examples are as without it.
    """
    rng = random.Random(seed)
    kind = rng.choices(("subject", "people", "landscape"), (58, 24, 18))[0]
    if kind == "subject":
        is_anywhere = random.Random(f"{seed} anywhere").random() < anywhere
        return _with_subject(seed, rng, captions, is_anywhere=is_anywhere)
    if kind == "people":
        return _with_people(seed, rng, captions)
    return _landscape(seed, rng, captions)


class _Stage:
    """A background, rough and finished, that things are put on."""

    def __init__(self, seed: int, rng: random.Random, *, is_full: bool = False) -> None:
        """``is_full``: a landscape with all that it has but its house."""
        self.style = rng.choices(STYLES, (45, 40, 15))[0]
        self.rng = rng
        self.scene: Scene | None = None
        self.paper = ""
        if is_full or rng.random() < 0.6:
            scene = replace(random_scene(seed), house="")
            items = tuple(item for item in scene.items if "house" not in item.kind)
            if not is_full:
                scene = replace(scene, road=False)
                items = items[:3] if rng.random() < 0.4 else ()
            self.scene = replace(scene, items=items)
            self.picture = draw_plain(self.scene)
            self.sketch = draw_sketch(self.scene)
        else:
            self.paper = rng.choice(tuple(_PAPER))
            self.picture = _paper(_PAPER[self.paper], rng)
            self.sketch = Image.new("RGB", (SIZE_PX, SIZE_PX), _PAPER[self.paper])
        self.mask = Image.new("L", (SIZE_PX, SIZE_PX))

    def put(self, thing: Image.Image, box: tuple[int, int], *, shadow: bool) -> None:
        """Lay an RGBA cut-out on picture and sketch, lit as the scene is."""
        x, y = box
        if shadow:
            shade = Image.new("L", (SIZE_PX, SIZE_PX))
            foot = y + thing.height
            reach = thing.width * 0.46
            middle = x + thing.width / 2
            ImageDraw.Draw(shade).ellipse(
                (middle - reach, foot - reach * 0.2, middle + reach, foot + reach * 0.16), fill=90
            )
            shade = shade.filter(ImageFilter.GaussianBlur(3))
            self.picture.paste((20, 24, 30), (0, 0), shade)
        lit = thing
        if self.scene is not None:
            palette = PALETTES[self.scene.time]
            tint = Image.new("RGB", thing.size, palette.tint)
            rgb = Image.blend(thing.convert("RGB"), tint, palette.tint_amount * 0.55)
            lit = rgb.convert("RGBA")
            lit.putalpha(thing.getchannel("A"))
        layer = Image.new("RGBA", (SIZE_PX, SIZE_PX))
        layer.paste(lit, (x, y))
        alpha = layer.getchannel("A")
        self.picture.paste(layer.convert("RGB"), (0, 0), alpha)
        self.sketch.paste(_blobs(layer), (0, 0), above(alpha, 110))
        self.mask.paste(255, (0, 0), above(alpha, 64))

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """Picture in its style, and the sketch with a hand's edges."""
        picture = in_style(self.picture, self.style, self.rng)
        return picture, warp(self.sketch, self.rng, 4.0, 24)

    def place(self, rng: random.Random) -> str:
        if self.scene is not None:
            return place_of(self.scene, rng)
        return rng.choice((f"on a {self.paper} background", f"{self.paper} background"))


def _with_subject(seed: int, rng: random.Random, captions: int, *, is_anywhere: bool) -> Example:
    stage = _Stage(seed, rng, is_full=is_anywhere)
    name = rng.choice(tuple(SUBJECTS))
    subject = SUBJECTS[name]
    thing = pick(name, rng)
    if thing is None:
        return _landscape(seed, rng, captions)
    colour = rng.choice(tuple(HUES)) if subject.hues and rng.random() < 0.75 else ""
    painted = recoloured(thing, colour) if colour else None
    if painted is None:
        colour = ""
    else:
        thing = painted
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(rng.gauss(0, 6), Image.Resampling.BICUBIC, expand=True)
    longest = rng.uniform(0.42, 0.86) * SIZE_PX
    scale = longest / max(thing.size)
    thing = thing.resize(
        (max(8, round(thing.width * scale)), max(8, round(thing.height * scale))),
        Image.Resampling.LANCZOS,
    )
    room_x, room_y = SIZE_PX - thing.width, SIZE_PX - thing.height
    x = round(room_x * rng.uniform(0.08, 0.92))
    low = {"air": 0.3, "water": 0.75, "ground": 0.92}[subject.where]
    if is_anywhere:
        part = rng.uniform(0.2, 0.95)
    else:
        part = low + rng.uniform(-0.12, 0.06) if stage.scene else rng.uniform(0.3, 0.7)
    y = round(room_y * part)
    on_ground = subject.where == "ground" and (stage.scene is not None or rng.random() < 0.4)
    stage.put(thing, (x, max(0, min(room_y, y))), shadow=on_ground)
    picture, sketch = stage.finish()
    article = "an" if name[0] in "aeiou" else "a"
    texts: list[str] = []
    for _ in range(captions):
        words = rng.choice(subject.words or (f"{article} {name}", name))
        if colour:
            words = f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {name}"
        text = f"{words} {stage.place(rng)}" if rng.random() < 0.8 else words
        texts.append(f"{text}, {stage.style}" if rng.random() < 0.5 else text)
    return Example(
        picture=picture, sketch=sketch, mask=stage.mask, captions=tuple(texts), subject=name,
        colour=colour,
    )  # fmt: skip


def _with_people(seed: int, rng: random.Random, captions: int) -> Example:
    stage = _Stage(seed, rng)
    many = rng.random() < 0.15
    spots = [rng.uniform(0.24, 0.34), rng.uniform(0.66, 0.76)] if many else [rng.uniform(0.4, 0.6)]
    people: list[Person] = []
    for x in spots:
        height = rng.uniform(0.5, 0.62) if many else rng.uniform(0.62, 0.88)
        person = random_person(rng, x, rng.uniform(0.9, 0.97), height)
        drawn = draw_person(person, SIZE_PX)
        if (box := drawn.getbbox()) is not None:
            stage.put(drawn.crop(box), box[:2], shadow=True)
        people.append(person)
    picture, sketch = stage.finish()
    texts: list[str] = []
    for _ in range(captions):
        text = " and ".join(person.words(rng) for person in people)
        if rng.random() < 0.75:
            text += f" {stage.place(rng)}"
        texts.append(f"{text}, {stage.style}" if rng.random() < 0.5 else text)
    one = people[0] if len(people) == 1 else None
    return Example(
        picture=picture,
        sketch=sketch,
        mask=stage.mask,
        captions=tuple(texts),
        subject="person" if one else "",
        people=tuple(people),
    )


def _landscape(seed: int, rng: random.Random, captions: int) -> Example:
    scene = random_scene(seed)
    picture = in_style(draw_plain(scene), scene.style, rng)
    texts = tuple(caption_of(scene, rng) for _ in range(captions))
    colour = scene.house
    return Example(
        picture=picture,
        sketch=draw_sketch(scene),
        mask=_house_mask(scene),
        captions=texts,
        subject="house" if colour else "",
        colour=colour,
    )


def _house_mask(scene: Scene) -> Image.Image:
    """Walls and roof of its house, where it has one."""
    mask = Image.new("L", (SIZE_PX, SIZE_PX))
    for item in scene.items:
        if item.kind.endswith("house"):
            x, y, s = (value * SIZE_PX for value in (item.x, item.y, item.size))
            outline = [(-0.5, 0), (-0.5, -0.5), (-0.575, -0.5), (0, -1), (0.575, -0.5), (0.5, -0.5),
                       (0.5, 0)]  # fmt: skip
            ImageDraw.Draw(mask).polygon([(x + s * dx, y + s * dy) for dx, dy in outline], fill=255)
    return mask


def _paper(colour: tuple[int, int, int], rng: random.Random) -> Image.Image:
    """A plain ground with a soft gradient."""
    rows = np.linspace(-1, 1, SIZE_PX, dtype=np.float32)[:, None, None]
    slope = rng.uniform(-14, 14)
    pixels = np.array(colour, dtype=np.float32) + rows * slope
    full = np.broadcast_to(pixels, (SIZE_PX, SIZE_PX, 3))
    return Image.fromarray(full.clip(0, 255).astype(np.uint8))


def _blobs(layer: Image.Image) -> Image.Image:
    """The few flat colours that a painter would rough it in with."""
    alpha: npt.NDArray[np.uint8] = np.asarray(layer.getchannel("A"))
    solid = alpha > 110
    rgb = np.array(layer.convert("RGB"))
    if not solid.any():
        return Image.fromarray(rgb)
    inside = Image.fromarray(rgb[solid][None, :, :])  # 1 x N x 3
    palette = inside.quantize(4, Image.Quantize.MEDIANCUT)
    coarse = layer.convert("RGB").resize((SIZE_PX // 4, SIZE_PX // 4), Image.Resampling.BOX)
    flat = coarse.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    soft = flat.filter(ImageFilter.ModeFilter(3))
    return soft.resize((SIZE_PX, SIZE_PX), Image.Resampling.NEAREST)
