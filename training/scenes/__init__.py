"""The procedural world: a seed enters; a scene, its caption, its picture and its sketch leave."""

from __future__ import annotations

from .caption import caption_of
from .draw import draw_scene, draw_sketch
from .spec import Scene, random_scene

__all__ = ["Scene", "caption_of", "draw_scene", "draw_sketch", "random_scene"]
