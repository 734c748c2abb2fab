"""Values enter from one thread; only the newest leaves to another."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ["Mailbox"]

Value = TypeVar("Value")


class Mailbox(Generic[Value]):
    """Holds at most one value: a newer one replaces it. What nobody took in time is stale."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Value | None = None
        self.replaced = 0

    def put(self, value: Value) -> None:
        with self._lock:
            if self._value is not None:
                self.replaced += 1
            self._value = value

    def put_if_empty(self, value: Value) -> None:
        """An old value again, unless a newer one waits already."""
        with self._lock:
            if self._value is None:
                self._value = value

    def take(self) -> Value | None:
        """The value, which is then gone, or None."""
        with self._lock:
            value, self._value = self._value, None
            return value
