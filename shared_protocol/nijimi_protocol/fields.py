"""A JSON object from the peer enters; single fields of a checked type and range leave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import cast

from .errors import MalformedMessage
from .geometry import Bounds, Extent
from .pixels import Encoding

__all__ = ["MAX_COUNTER", "Fields", "parse_object"]

MAX_COUNTER = 2**53 - 1
"""Revisions and frame numbers stay exact in JSON (RFC 8259, section 6)."""


def parse_object(data: bytes) -> Fields:
    """Parse UTF-8 JSON that must be one object. Every failure is a ``MalformedMessage``."""
    try:
        value: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        # ValueError covers bad UTF-8, bad JSON and integers too long to convert.
        raise MalformedMessage("A message's description is not readable.") from None
    return Fields(value)


class Fields:
    """Typed access to one JSON object."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, Mapping):
            raise MalformedMessage("A message's description is not an object.")
        self._value = cast("Mapping[str, object]", value)

    def integer(self, name: str, low: int = 0, high: int = MAX_COUNTER) -> int:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise MalformedMessage(f"The field {name} must be a whole number.")
        return value

    def number(self, name: str) -> float:
        """Any JSON number, NaN and infinity included: the caller judges the range."""
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise MalformedMessage(f"The field {name} must be a number.")
        try:
            return float(value)
        except OverflowError:
            return math.inf

    def ratio(self, name: str, high: float = 1.0) -> float:
        value = self.number(name)
        if not 0.0 <= value <= high:
            raise MalformedMessage(f"The field {name} must lie between 0 and {high:g}.")
        return value

    def flag(self, name: str, missing: bool | None = None) -> bool:
        """``missing``: what it is where an older end does not say; None: that is an error."""
        value = self._value.get(name, missing)
        if not isinstance(value, bool):
            raise MalformedMessage(f"The field {name} must be true or false.")
        return value

    def text(self, name: str, max_chars: int = 512, missing: str | None = None) -> str:
        """``missing`` as for ``flag``."""
        value = self._value.get(name, missing)
        if not isinstance(value, str) or len(value) > max_chars:
            raise MalformedMessage(f"The field {name} must be a text of {max_chars} characters.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            # JSON may escape half of a surrogate pair; no tokenizer or log could write it.
            raise MalformedMessage(f"The field {name} is not valid Unicode.") from None
        return value

    def items(self, name: str, max_items: int) -> list[object]:
        value = self._value.get(name)
        if not isinstance(value, list) or len(cast("list[object]", value)) > max_items:
            raise MalformedMessage(f"The field {name} must be a list of at most {max_items}.")
        return cast("list[object]", value)

    def counters(self, name: str, max_items: int) -> tuple[int, ...]:
        """Whole numbers from 1."""
        found = self.items(name, max_items)
        whole = [
            value
            for value in found
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_COUNTER
        ]
        if len(whole) != len(found):
            raise MalformedMessage(f"The field {name} must hold whole numbers from 1.")
        return tuple(whole)

    def names(self) -> tuple[str, ...]:
        return tuple(self._value)

    def part(self, name: str) -> Fields:
        return Fields(self._value.get(name))

    def optional_part(self, name: str) -> Fields | None:
        return None if self._value.get(name) is None else self.part(name)

    def numbers(self, name: str, max_items: int = 64) -> dict[str, float]:
        """An object of finite numbers."""
        part = self._value.get(name)
        if not isinstance(part, Mapping) or len(cast("Mapping[str, object]", part)) > max_items:
            raise MalformedMessage(f"The field {name} must be an object of numbers.")
        fields = Fields(cast("object", part))
        found = {key: fields.number(key) for key in cast("Mapping[str, object]", part)}
        if not all(math.isfinite(value) for value in found.values()):
            raise MalformedMessage(f"The field {name} holds a number that is not finite.")
        return found

    def extent(self, name: str) -> Extent:
        width, height = self._integers(name, 2)
        return Extent(width, height)

    def bounds(self, name: str) -> Bounds:
        x, y, width, height = self._integers(name, 4)
        if width < 0 or height < 0:
            raise MalformedMessage(f"The field {name} has a negative size.")
        return Bounds(x, y, width, height)

    def optional_bounds(self, name: str) -> Bounds | None:
        return None if self._value.get(name) is None else self.bounds(name)

    def encodings(self, name: str) -> tuple[Encoding, ...]:
        known = {int(encoding) for encoding in Encoding}
        # An encoding that we do not know is the peer's newer one: skip it, do not refuse.
        found = [value for value in self.items(name, 16) if isinstance(value, int)]
        return tuple(Encoding(value) for value in found if value in known)

    def _integers(self, name: str, count: int) -> list[int]:
        numbers = self.items(name, count)
        whole = [
            number
            for number in numbers
            if isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**31
        ]
        if len(whole) != count or len(numbers) != count:
            raise MalformedMessage(f"The field {name} must be {count} whole numbers.")
        return whole
