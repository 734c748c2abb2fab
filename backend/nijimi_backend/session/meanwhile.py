"""The time enters; whether a picture may be made between two looks at a file leaves. Pure.

Reading a large checkpoint takes seconds to minutes, all of it on the thread that renders. Between
its tensors the model before goes on painting, so that nobody waits before a picture that stands
still; never for more than every second moment, so that reading takes twice as long at most.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Meanwhile"]


@dataclass(kw_only=True)
class Meanwhile:
    """Of one loading. Mutable: when the next picture may come, and what was told last."""

    began_s: float
    free_at_s: float = 0.0
    gave_up: bool = False
    told: tuple[str, int] = ("", -1)

    def may_render(self, now_s: float) -> bool:
        """The first picture may come when loading has taken longer than a blink."""
        return not self.gave_up and now_s >= max(self.free_at_s, self.began_s + 0.1)

    def rendered(self, began_s: float, now_s: float) -> None:
        """As much time as that took belongs to the reading now."""
        self.free_at_s = now_s + (now_s - began_s)

    def is_news(self, label: str, done: int) -> bool:
        """Whether that was not told yet."""
        before, self.told = self.told, (label, done)
        return before != self.told
