"""A random generator enters; a Scene leaves: what stands where, in which colours and light."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["HOUSE_COLOURS", "PALETTES", "RGB", "Item", "Palette", "Scene", "random_scene"]


class RGB(NamedTuple):
    """A colour, 0 to 255 each."""

    red: int
    green: int
    blue: int


class Palette(NamedTuple):
    """The light of one time of day: sky from top to horizon, and how it tints what it lights."""

    top: RGB
    horizon: RGB
    disc: RGB
    cloud: RGB
    tint: RGB
    tint_amount: float


PALETTES: dict[str, Palette] = {
    "day": Palette(
        RGB(74, 144, 226), RGB(188, 224, 246), RGB(255, 246, 190), RGB(255, 255, 255),
        RGB(255, 250, 235), 0.04,
    ),
    "sunset": Palette(
        RGB(92, 62, 128), RGB(255, 150, 74), RGB(255, 214, 110), RGB(255, 172, 140),
        RGB(255, 120, 60), 0.26,
    ),
    "dawn": Palette(
        RGB(120, 150, 210), RGB(255, 206, 196), RGB(255, 240, 214), RGB(255, 226, 224),
        RGB(255, 190, 190), 0.16,
    ),
    "night": Palette(
        RGB(12, 18, 48), RGB(44, 62, 112), RGB(240, 240, 220), RGB(70, 84, 124),
        RGB(18, 28, 70), 0.56,
    ),
    "storm": Palette(
        RGB(62, 70, 84), RGB(150, 158, 164), RGB(200, 204, 204), RGB(104, 110, 120),
        RGB(90, 100, 112), 0.34,
    ),
}  # fmt: skip

GROUNDS: dict[str, RGB] = {
    "green": RGB(104, 164, 66),
    "snowy": RGB(236, 242, 250),
    "golden": RGB(214, 178, 82),
    "autumn": RGB(186, 112, 50),
    "sandy": RGB(232, 206, 150),
}

HOUSE_COLOURS: dict[str, RGB] = {
    "red": RGB(200, 58, 48),
    "white": RGB(244, 240, 230),
    "blue": RGB(66, 110, 190),
    "yellow": RGB(240, 200, 74),
    "brown": RGB(140, 92, 56),
}


class Item(NamedTuple):
    """Something that stands on the ground: its foot in 0..1 of the picture, height in 0..1."""

    kind: str
    x: float
    y: float
    size: float
    shade: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that the picture and the caption are made from."""

    seed: int
    time: str
    style: str
    ground: str
    horizon: float
    disc: tuple[float, float, float]
    clouds: tuple[tuple[float, float, float], ...]
    mountains: str
    water: str
    shore: float
    hills: int
    house: str
    items: tuple[Item, ...]
    road: bool
    flowers: str


def random_scene(seed: int) -> Scene:
    """The scene of one seed; the same seed gives the same scene."""
    rng = random.Random(seed)
    time = rng.choices(list(PALETTES), [34, 24, 12, 18, 12])[0]
    ground = rng.choices(list(GROUNDS), [50, 16, 12, 12, 10])[0]
    horizon = rng.uniform(0.42, 0.66)
    water = rng.choices(["", "sea", "lake"], [62, 20, 18])[0]
    mountains = rng.choices(["", "mountains", "snowy mountains"], [46, 30, 24])[0]
    if water == "sea":
        mountains = rng.choices(["", "mountains"], [80, 20])[0]
    shore = horizon
    if water:
        shore = min(0.9, horizon + (0.26 if water == "sea" else 0.14) + rng.uniform(0, 0.1))
    tree = rng.choices(["", "pine", "tree"], [26, 38, 36])[0]
    if ground == "sandy":
        tree = rng.choices(["", "palm"], [50, 50])[0]
    house = rng.choices(["", *HOUSE_COLOURS], [48, 20, 10, 8, 8, 6])[0]
    items = [_item(rng, tree, horizon, shore) for _ in range(rng.randint(1, 9) if tree else 0)]
    if house:
        x, y = rng.uniform(0.16, 0.84), rng.uniform(min(shore + 0.08, 0.88), 0.92)
        items.append(Item(house + " house", x, y, rng.uniform(0.16, 0.32), rng.uniform(0.85, 1.1)))
    if water and rng.random() < 0.35:
        items.append(
            Item("boat", rng.uniform(0.15, 0.85), horizon + rng.uniform(0.03, 0.08),
                 rng.uniform(0.08, 0.16), 1.0)
        )  # fmt: skip
    cloudy = rng.random() < (0.95 if time == "storm" else 0.6)
    count = rng.randint(1, 5) if cloudy else 0
    clouds = tuple(
        (rng.uniform(-0.05, 1.05), rng.uniform(0.05, horizon * 0.7), rng.uniform(0.08, 0.24))
        for _ in range(count)
    )
    return Scene(
        seed=seed,
        time=time,
        style=rng.choices(["painterly", "flat", "ink outlined"], [60, 20, 20])[0],
        ground=ground,
        horizon=horizon,
        disc=(rng.uniform(0.12, 0.88), rng.uniform(0.1, horizon * 0.85), rng.uniform(0.03, 0.075))
        if time != "storm"
        else (0.5, 0.2, 0.0),
        clouds=clouds,
        mountains=mountains,
        water=water,
        shore=shore,
        hills=rng.randint(1, 3),
        house=house,
        items=tuple(sorted(items, key=lambda item: item.y)),
        road=not water and rng.random() < 0.28,
        flowers=rng.choices(["", "red", "yellow", "white", "purple"], [76, 6, 6, 6, 6])[0]
        if ground == "green"
        else "",
    )


def _item(rng: random.Random, kind: str, horizon: float, shore: float) -> Item:
    y = rng.uniform(min(shore + 0.05, 0.93), 0.98)
    depth = (y - horizon) / (1 - horizon)
    size = (0.1 + 0.3 * depth) * rng.uniform(0.75, 1.3)
    return Item(kind, rng.uniform(-0.02, 1.02), y, size, rng.uniform(0.78, 1.15))
