"""A key enters; the value kept for it leaves, or is made once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["StageCache"]

Value = TypeVar("Value")


class StageCache(Generic[Value]):
    """The newest ``size`` results of one stage, by the stage's inputs. Not thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self.misses = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value for ``key``; ``make`` runs only when it is not kept yet."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        value = make()
        self._kept[key] = value
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return value

    def peek(self, key: Hashable) -> Value | None:
        """The value that is kept for ``key``, which becomes no newer by it."""
        return self._kept.get(key)

    def __iter__(self) -> Iterator[Value]:
        """All that are kept, the oldest first."""
        return iter(self._kept.values())

    def clear(self) -> None:
        self._kept.clear()
