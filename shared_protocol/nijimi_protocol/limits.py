"""The bounds that both ends agree on; an extent or a text enters, a refusal or nothing leaves."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RejectedChange
from .geometry import Extent

__all__ = ["MAX_BATCHES", "MAX_BATCH_PICTURES", "MAX_LOOK_PX", "Limits"]

MAX_BATCHES = 16
"""Batches that one client may have waiting or running."""

MAX_BATCH_PICTURES = 16
"""Pictures of one batch."""

MAX_LOOK_PX = 128
"""The longest side of a picture of what is being made."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one session may cost. Every allocation is checked against these first.

    The memory that a session's planes can take is at most
    ``max_planes * max_pixels * 4`` bytes, and one message at most ``max_message_bytes``.
    """

    max_message_bytes: int = 8 * 1024 * 1024
    max_meta_bytes: int = 256 * 1024
    max_side_px: int = 16384
    max_pixels: int = 64 * 1024 * 1024
    max_planes: int = 12
    max_prompt_chars: int = 4000
    max_people: int = 20

    def check_extent(self, extent: Extent, revision: int = 0) -> None:
        """Refuse a canvas that is empty or too large, with a sentence that says what to do."""
        width, height = extent
        if width < 1 or height < 1:
            raise RejectedChange(
                "canvas_empty",
                f"The canvas is {width} x {height} px: there is nothing to render.",
                "Open a document that is at least 1 x 1 px.",
                revision,
            )
        if width > self.max_side_px or height > self.max_side_px or extent.pixels > self.max_pixels:
            raise RejectedChange(
                "canvas_too_large",
                f"The canvas is {width} x {height} px; live painting takes at most "
                f"{self.max_side_px} px a side and {self.max_pixels // 1_000_000} megapixels.",
                "Crop or scale the document, or paint in a smaller one.",
                revision,
            )

    def check_prompt(self, prompt: str, name: str = "prompt", revision: int = 0) -> None:
        """Refuse a prompt that is too long, with a sentence that says what to do."""
        if len(prompt) > self.max_prompt_chars:
            raise RejectedChange(
                "prompt_too_long",
                f"The {name} has {len(prompt)} characters; at most {self.max_prompt_chars} are "
                "understood.",
                "Shorten it; the last good one stays in use.",
                revision,
            )
