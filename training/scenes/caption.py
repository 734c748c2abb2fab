"""A Scene and a random generator enter; a caption leaves, worded differently each time."""

from __future__ import annotations

import random

from .spec import Scene

__all__ = ["caption_of", "place_of"]

_TIMES = {
    "day": ["in daylight", "on a sunny day", "blue sky", "day"],
    "sunset": ["at sunset", "in the evening", "orange sky", "golden hour"],
    "dawn": ["at dawn", "in the early morning", "pink sky"],
    "night": ["at night", "under a night sky", "moonlight", "dark night"],
    "storm": ["in a storm", "grey sky", "overcast", "stormy weather"],
}

_GROUNDS = {
    "green": ["green hills", "a green meadow", "green grass", "a green hill"],
    "snowy": ["snow", "snowy hills", "a winter landscape", "snow covered ground"],
    "golden": ["golden fields", "a wheat field", "yellow fields"],
    "autumn": ["autumn hills", "an autumn landscape", "brown fields"],
    "sandy": ["sand", "a beach", "a sandy beach", "desert sand"],
}

_BY_THE_SEA = ["by the sea", "at the sea"]

_TREES = {
    "pine": (["a pine tree", "a fir tree"], ["pine trees", "fir trees", "pines"]),
    "tree": (["a tree", "a round tree"], ["trees", "round trees", "leafy trees"]),
    "palm": (["a palm tree"], ["palm trees", "palms"]),
}


def caption_of(scene: Scene, rng: random.Random) -> str:
    """A caption that names what is drawn; details drop out at random, never wrong ones come in."""
    parts: list[str] = []
    if scene.house:
        parts.append(rng.choice([f"a {scene.house} house", f"{scene.house} house"]))
    kinds = [item.kind for item in scene.items if item.kind in _TREES]
    if kinds:
        single, many = _TREES[kinds[0]]
        parts.append(rng.choice(single if len(kinds) == 1 else many))
        if len(kinds) > 5 and rng.random() < 0.5:
            parts.append("forest")
    if scene.water:
        words = {"sea": ["the sea", "ocean", "sea"], "lake": ["a lake", "lake", "water"]}
        parts.append(rng.choice(words[scene.water]))
    if any(item.kind == "boat" for item in scene.items):
        parts.append(rng.choice(["a boat", "a sailing boat"]))
    if scene.mountains:
        parts.append(scene.mountains)
    if scene.road:
        parts.append(rng.choice(["a road", "a path"]))
    if scene.flowers:
        parts.append(rng.choice([f"{scene.flowers} flowers", "flowers"]))
    if scene.clouds and scene.time != "storm":
        parts.append("clouds")
    if scene.time == "night":
        parts.append(rng.choice(["moon", "stars", "moon and stars"]))
    elif scene.disc[2] > 0.0:
        parts.append("sun")
    kept = [part for part in parts if rng.random() < 0.85]
    rng.shuffle(kept)
    ground = rng.choice(_GROUNDS[scene.ground])
    time = rng.choice(_TIMES[scene.time])
    if kept and rng.random() < 0.4:
        text = f"{kept[0]} on {ground} {time}"
        if kept[1:]:
            text += ", " + ", ".join(kept[1:])
    else:
        words = [*kept, ground]
        rng.shuffle(words)
        words.insert(rng.randint(0, len(words)), time)
        text = ", ".join(words)
    if rng.random() < 0.8:
        text += f", {scene.style}"
    return text


def place_of(scene: Scene, rng: random.Random) -> str:
    """Where something stands: a few words on ground, water, mountains and time of day."""
    words: list[str] = []
    if scene.water and rng.random() < 0.6:
        words.append("by a lake" if scene.water == "lake" else rng.choice(_BY_THE_SEA))
    elif rng.random() < 0.85:
        words.append(f"on {rng.choice(_GROUNDS[scene.ground])}")
    if scene.mountains and rng.random() < 0.35:
        words.append(f"in front of {scene.mountains}")
    if rng.random() < 0.7:
        words.append(rng.choice(_TIMES[scene.time]))
    return " ".join(words[:2]) + "".join(f", {word}" for word in words[2:])
