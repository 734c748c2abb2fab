"""Sizes of mirrored planes enter; leave to hold them, or a refusal, leaves."""

from __future__ import annotations

import threading

from nijimi_protocol.errors import RejectedChange

__all__ = ["COPIES", "PlaneBudget"]

COPIES = 5
"""A plane is held once as it is mirrored, twice for snapshots that take turns, and a repainted
picture of its size twice: the newest, and one on its way."""


class PlaneBudget:
    """What the planes of all clients together may take. Used from several threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: dict[tuple[int, str], int] = {}

    @property
    def held_bytes(self) -> int:
        with self._lock:
            return sum(self._held.values())

    def take(
        self, client: int, plane: str, plane_bytes: int, revision: int, copies: int = COPIES
    ) -> None:
        """Hold a plane of that size, in place of an earlier one of that name.

        Raises ``RejectedChange`` where it does not fit; the earlier one is let go all the same, as
        the client has begun a new one.
        """
        wanted = copies * plane_bytes
        with self._lock:
            self._held.pop((client, plane), None)
            if sum(self._held.values()) + wanted > self.most_bytes:
                raise RejectedChange(
                    "server_full",
                    "The backend has no memory left for this canvas beside the others that it "
                    f"holds ({wanted // 2**20} MiB are needed, "
                    f"{self.most_bytes // 2**20} MiB are allowed in all).",
                    "Close other documents or Kritas that are live, or paint in a smaller one.",
                    revision,
                )
            self._held[client, plane] = wanted

    def give_back(self, client: int, plane: str | None = None) -> None:
        """A plane is gone, or all of a client's."""
        with self._lock:
            for key in [k for k in self._held if k[0] == client and plane in (None, k[1])]:
                del self._held[key]
