"""The world that the model learns: a seed enters; pictures, words, masks and skeletons leave."""

from __future__ import annotations

from .caption import caption_of
from .draw import draw_scene, draw_sketch
from .example import Example, make_example
from .spec import Scene, random_scene
from .subjects import SUBJECTS

__all__ = [
    "SUBJECTS",
    "Example",
    "Scene",
    "caption_of",
    "draw_scene",
    "draw_sketch",
    "make_example",
    "random_scene",
]
