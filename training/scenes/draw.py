"""A Scene enters; its finished picture, or the rough sketch a painter would begin with, leaves."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .spec import GROUNDS, HOUSE_COLOURS, PALETTES, RGB, Item, Palette, Scene
from .style import SIZE_PX, in_style, warp

__all__ = ["SIZE_PX", "draw_plain", "draw_scene", "draw_sketch"]

_SUPER = 2
_S = SIZE_PX * _SUPER


def draw_scene(scene: Scene) -> Image.Image:
    """The finished picture, RGB, 256 x 256."""
    return in_style(draw_plain(scene), scene.style, random.Random(scene.seed * 7 + 2))


def draw_plain(scene: Scene) -> Image.Image:
    """The picture before any hand's style, RGB, 256 x 256."""
    rng = random.Random(scene.seed * 7 + 1)
    palette = PALETTES[scene.time]
    image = _sky(scene, palette, rng)
    draw = ImageDraw.Draw(image)
    _land(draw, scene, palette, detail=True)
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def draw_sketch(scene: Scene) -> Image.Image:
    """Flat blobs of the same layout with wobbly edges: what a painter roughs in."""
    rng = random.Random(scene.seed * 7 + 1)
    palette = PALETTES[scene.time]
    image = Image.new("RGB", (_S, _S), _mix(palette.top, palette.horizon, 0.5))
    draw = ImageDraw.Draw(image)
    _disc(draw, scene, palette)
    for x, y, size in scene.clouds:
        draw.ellipse(_box(x, y, size, size * 0.4), fill=palette.cloud)
    _land(draw, scene, palette, detail=False)
    small = image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)
    return warp(small, rng, 5.0, 24)


def _rng(scene: Scene, part: int) -> random.Random:
    """A generator for one part, so that picture and sketch agree whatever else is drawn."""
    return random.Random(scene.seed * 64 + part)


def _mix(a: RGB, b: RGB, amount: float) -> RGB:
    return RGB(*(round(p + (q - p) * amount) for p, q in zip(a, b, strict=True)))


def _lit(colour: RGB, palette: Palette, shade: float = 1.0, haze: float = 0.0) -> RGB:
    """A thing's colour in this light; ``haze`` in [0, 1] draws it towards the horizon."""
    shaded = RGB(*(min(255, round(channel * shade)) for channel in colour))
    return _mix(_mix(shaded, palette.tint, palette.tint_amount), palette.horizon, haze)


def _box(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    return ((x - w / 2) * _S, (y - h / 2) * _S, (x + w / 2) * _S, (y + h / 2) * _S)


def _points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x * _S, y * _S) for x, y in points]


def _sky(scene: Scene, palette: Palette, rng: random.Random) -> Image.Image:
    rows = np.linspace(0, 1 / max(scene.horizon, 0.1), _S, dtype=np.float32).clip(0, 1)[:, None]
    top, low = (np.array(c, dtype=np.float32) for c in (palette.top, palette.horizon))
    column = top + (low - top) * rows**1.3  # _S x 3
    pixels = np.repeat(column[:, None, :], _S, axis=1)  # _S x _S x 3
    x, y, radius = scene.disc
    if radius > 0:
        grid = (np.arange(_S, dtype=np.float32) + 0.5) / _S
        distance = np.hypot(grid[None, :] - x, grid[:, None] - y)
        glow = np.exp(-distance / 0.16)[..., None] * (0.35 if scene.time == "night" else 0.6)
        pixels += (np.array(palette.disc, dtype=np.float32) - pixels) * glow
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    if scene.time == "night":
        for _ in range(rng.randint(30, 80)):
            sx, sy, r = rng.random(), rng.random() * scene.horizon, rng.uniform(0.0015, 0.004)
            draw.ellipse(_box(sx, sy, 2 * r, 2 * r), fill=(230, 234, 255))
    _disc(draw, scene, palette)
    for cx, cy, size in scene.clouds:
        for _ in range(7):
            dx, dy = rng.uniform(-0.5, 0.5) * size, rng.uniform(-0.14, 0.14) * size
            s = size * rng.uniform(0.3, 0.6)
            shade = _mix(palette.cloud, palette.horizon, rng.uniform(0.0, 0.35))
            draw.ellipse(_box(cx + dx, cy + dy, s, s * 0.55), fill=shade)
    if scene.clouds:
        image = image.filter(ImageFilter.BoxBlur(2.5))
    return image


def _disc(draw: ImageDraw.ImageDraw, scene: Scene, palette: Palette) -> None:
    x, y, radius = scene.disc
    if radius > 0:
        draw.ellipse(_box(x, y, 2 * radius, 2 * radius), fill=palette.disc)


def _ridge(rng: random.Random, base: float, height: float, rough: int) -> list[tuple[float, float]]:
    phases = [(rng.uniform(0, 6.28), rng.uniform(0.7, 1.3) * (n + 1)) for n in range(rough)]
    points = []
    for n in range(49):
        x = n / 48
        wave = sum(math.sin(p + f * x * 5) / (k + 1) for k, (p, f) in enumerate(phases))
        points.append((x, base - height * (0.5 + 0.5 * wave / 1.6)))
    return points


def _fill_below(draw: ImageDraw.ImageDraw, ridge: list[tuple[float, float]], colour: RGB) -> None:
    draw.polygon(_points([*ridge, (1, 1.01), (0, 1.01)]), fill=colour)


def _land(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    palette: Palette,
    *,
    detail: bool,
) -> None:
    horizon = scene.horizon
    if scene.mountains:
        _mountains(draw, scene, palette, _rng(scene, 1), detail=detail)
    ground = GROUNDS[scene.ground]
    shore = scene.shore
    if scene.water:
        _water(draw, scene, palette, _rng(scene, 2), shore, detail=detail)
    rng = _rng(scene, 3)
    for n in range(scene.hills):
        depth = (n + 1) / scene.hills
        base = horizon + 0.02 + 0.18 * n if not scene.water else shore + 0.06 * n
        colour = _lit(ground, palette, 0.82 + 0.22 * depth, 0.45 * (1 - depth))
        ridge = _ridge(rng, base + 0.03, 0.05 + 0.07 * rng.random(), 2)
        _fill_below(draw, ridge, colour)
        if detail:
            darker = _lit(ground, palette, 0.62 + 0.2 * depth, 0.4 * (1 - depth))
            lower = [(x, y + 0.1 + 0.05 * math.sin(9 * x + n)) for x, y in ridge]
            _fill_below(draw, lower, _mix(colour, darker, 0.45))
    if scene.road:
        _road(draw, horizon, palette, rng)
    if scene.flowers:
        _flowers(draw, scene, palette, rng, detail=detail)
    for item in scene.items:
        _item(draw, item, scene, palette, rng, detail=detail)


def _mountains(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    palette: Palette,
    rng: random.Random,
    *,
    detail: bool,
) -> None:
    base = scene.horizon + 0.05
    for _ in range(rng.randint(2, 4)):
        x, height = rng.uniform(0.05, 0.95), rng.uniform(0.16, 0.34)
        width = height * rng.uniform(1.1, 1.7)
        haze = rng.uniform(0.15, 0.4)
        body = _lit(RGB(104, 108, 124), palette, 1.0, haze)
        peak = (x, base - height)
        draw.polygon(_points([(x - width / 2, base), peak, (x + width / 2, base)]), fill=body)
        if detail:
            dark = _lit(RGB(70, 74, 92), palette, 1.0, haze)
            ragged = (x + 0.02, base - height * 0.5)
            draw.polygon(_points([peak, ragged, (x, base), (x + width / 2, base)]), fill=dark)
        if scene.mountains == "snowy mountains":
            snow = _lit(RGB(246, 248, 255), palette, 1.0, haze * 0.4)
            cut, y = width * 0.17, base - height * 0.66
            zigzag = [(x - cut, y), (x - cut / 2, y - 0.015), (x, y + 0.02),
                      (x + cut / 2, y - 0.01), (x + cut, y)]  # fmt: skip
            draw.polygon(_points([peak, *zigzag]), fill=snow)


def _water(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    palette: Palette,
    rng: random.Random,
    shore: float,
    *,
    detail: bool,
) -> None:
    top = scene.horizon
    deep = _mix(_lit(RGB(36, 96, 150), palette), palette.top, 0.25)
    near = _mix(deep, palette.horizon, 0.4)
    steps = 24 if detail else 1
    for n in range(steps):
        y = top + (shore + 0.08 - top) * n / steps
        colour = _mix(near, deep, n / steps) if detail else _mix(near, deep, 0.5)
        draw.rectangle((0, y * _S, _S, (shore + 0.1) * _S), fill=colour)
    if detail:
        x, _, radius = scene.disc
        for n in range(26):
            y = top + (shore - top) * rng.random()
            wide = rng.uniform(0.02, 0.09)
            cx = x + rng.gauss(0, 0.04) if radius > 0 and n % 2 else rng.random()
            light = palette.disc if radius > 0 and n % 2 else palette.horizon
            draw.rectangle(_box(cx, y, wide, 0.005), fill=_mix(deep, light, 0.6))


def _road(draw: ImageDraw.ImageDraw, horizon: float, palette: Palette, rng: random.Random) -> None:
    colour = _lit(RGB(196, 176, 140), palette)
    x0, x1, bend = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.8), rng.uniform(-0.25, 0.25)
    left, right = [], []
    for n in range(25):
        t = n / 24
        y = horizon + 0.06 + (1.01 - horizon - 0.06) * t
        x = x0 + (x1 - x0) * t + bend * math.sin(t * math.pi)
        half = 0.006 + 0.11 * t**1.6
        left.append((x - half, y))
        right.append((x + half, y))
    draw.polygon(_points([*left, *reversed(right)]), fill=colour)


def _flowers(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    palette: Palette,
    rng: random.Random,
    *,
    detail: bool,
) -> None:
    colours = {"red": RGB(226, 48, 52), "yellow": RGB(250, 214, 50), "white": RGB(255, 252, 246),
               "purple": RGB(150, 80, 190)}  # fmt: skip
    colour = _lit(colours[scene.flowers], palette)
    for _ in range(70 if detail else 14):
        y = rng.uniform(scene.horizon + 0.22, 1.0)
        r = (0.006 + 0.014 * (y - scene.horizon)) * (1 if detail else 2.2)
        draw.ellipse(_box(rng.random(), y, 2 * r, 1.6 * r), fill=colour)


def _item(
    draw: ImageDraw.ImageDraw,
    item: Item,
    scene: Scene,
    palette: Palette,
    rng: random.Random,
    *,
    detail: bool,
) -> None:
    depth = (item.y - scene.horizon) / (1 - scene.horizon)
    haze = max(0.0, 0.35 * (1 - 1.6 * depth))
    if detail and item.kind != "boat":
        shadow = _lit(GROUNDS[scene.ground], palette, 0.55, haze)
        draw.ellipse(_box(item.x, item.y, item.size * 0.7, item.size * 0.1), fill=shadow)
    if item.kind.endswith("house"):
        _house(draw, item, scene, palette, haze, detail=detail)
    elif item.kind == "boat":
        x, y, s = item.x, item.y, item.size
        hull = _lit(RGB(150, 74, 46), palette)
        deck, keel = y - s * 0.14, y + s * 0.08
        sides = [(x - s / 2, deck), (x + s / 2, deck), (x + s * 0.3, keel), (x - s * 0.3, keel)]
        draw.polygon(_points(sides), fill=hull)
        sail = _lit(RGB(250, 246, 236), palette)
        draw.polygon(_points([(x, y - s), (x, y - s * 0.2), (x + s * 0.4, y - s * 0.2)]), fill=sail)
    else:
        _tree(draw, item, scene, palette, rng, haze, detail=detail)


def _tree(
    draw: ImageDraw.ImageDraw,
    item: Item,
    scene: Scene,
    palette: Palette,
    rng: random.Random,
    haze: float,
    *,
    detail: bool,
) -> None:
    x, y, s = item.x, item.y, item.size
    leaf = {"pine": RGB(38, 88, 58), "tree": RGB(72, 134, 52), "palm": RGB(66, 140, 66)}[item.kind]
    if scene.ground == "autumn" and item.kind == "tree":
        leaf = RGB(214, 104, 34)
    body = _lit(leaf, palette, item.shade, haze)
    light, dark = (_lit(leaf, palette, item.shade * k, haze) for k in (1.28, 0.72))
    trunk = _lit(RGB(96, 66, 44), palette, 1.0, haze)
    draw.rectangle(_box(x, y - s * 0.2, s * 0.09, s * 0.42), fill=trunk)
    if item.kind == "pine":
        layers = 4 if detail else 1
        for n in range(layers):
            bottom = y - s * (0.16 + 0.2 * n)
            half = s * (0.3 - 0.055 * n)
            top = y - s if not detail else bottom - s * 0.36
            draw.polygon(_points([(x - half, bottom), (x, top), (x + half, bottom)]), fill=body)
            if detail:
                draw.polygon(_points([(x, top), (x + half, bottom), (x, bottom)]), fill=dark)
    elif item.kind == "palm":
        for n in range(7):
            angle = math.pi * (0.06 + 0.88 * n / 6)
            tip = (x + math.cos(angle) * s * 0.42, y - s * 0.62 - math.sin(angle) * s * 0.2)
            crown = (x, y - s * 0.74)
            draw.line(_points([crown, tip]), fill=body, width=max(2, round(s * 0.06 * _S)))
        draw.rectangle(_box(x, y - s * 0.37, s * 0.07, s * 0.74), fill=trunk)
    else:
        draw.ellipse(_box(x, y - s * 0.64, s * 0.66, s * 0.7), fill=body)
        if detail:
            for _ in range(9):
                dx, dy = rng.uniform(-0.24, 0.24) * s, rng.uniform(-0.26, 0.24) * s
                tone = light if dx + dy < 0 else dark
                r = s * rng.uniform(0.16, 0.26)
                draw.ellipse(_box(x + dx, y - s * 0.64 + dy, r, r), fill=_mix(tone, body, 0.4))


def _house(
    draw: ImageDraw.ImageDraw,
    item: Item,
    scene: Scene,
    palette: Palette,
    haze: float,
    *,
    detail: bool,
) -> None:
    x, y, s = item.x, item.y, item.size
    wall_colour = HOUSE_COLOURS[item.kind.split()[0]]
    wall = _lit(wall_colour, palette, item.shade, haze)
    roof = _lit(RGB(110, 54, 44) if item.kind[0] != "r" else RGB(74, 62, 66), palette, 1.0, haze)
    half, high = s * 0.5, s * 0.5
    draw.rectangle(_box(x, y - high / 2, 2 * half, high), fill=wall)
    eaves = [(x - half * 1.15, y - high), (x, y - s), (x + half * 1.15, y - high)]
    draw.polygon(_points(eaves), fill=roof)
    if not detail:
        return
    side = _lit(wall_colour, palette, item.shade * 0.76, haze)
    draw.rectangle((x * _S + half * 0.45 * _S, (y - high) * _S, (x + half) * _S, y * _S), fill=side)
    glow = scene.time in ("night", "sunset", "storm")
    window = RGB(255, 214, 110) if glow else _lit(RGB(150, 190, 214), palette, 1.0, haze)
    for dx in (-0.28, 0.2):
        draw.rectangle(_box(x + dx * s, y - high * 0.56, s * 0.15, s * 0.17), fill=window)
    door = _lit(RGB(84, 56, 40), palette, 1.0, haze)
    draw.rectangle(_box(x - s * 0.04, y - s * 0.13, s * 0.12, s * 0.26), fill=door)
    draw.rectangle(_box(x + half * 0.5, y - s * 0.9, s * 0.09, s * 0.22), fill=roof)
