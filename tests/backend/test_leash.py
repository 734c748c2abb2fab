"""The parent's end by each system's own means. Linux's is tried in tests/flow/test_faults.py for
real; of the others the calls are, against stand-ins of the same shape."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import ctypes
import select
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from nijimi_backend import leash


class _Ended(Exception):
    """Instead of the process's end."""


def _end(status: int) -> None:
    raise _Ended(status)


class _Queue:
    """kqueue(2) as far as it is used: waits until the process has ended."""

    def __init__(self, error: type[OSError] | None = None) -> None:
        self.asked: list[Any] = []
        self.is_closed = False
        self._error = error

    def control(self, changes: list[Any], most: int, timeout_s: float | None) -> list[Any]:
        if self._error is not None:
            raise self._error
        assert (most, timeout_s) == (1, None), "it must wait, and for ever"
        self.asked += changes
        return changes

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("error", [None, ProcessLookupError])
def test_on_macos_the_parents_end_is_ours(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError] | None
) -> None:
    queue = _Queue(error)
    names = ("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_EV_ONESHOT", "KQ_NOTE_EXIT")
    for number, name in enumerate(names):
        monkeypatch.setattr(select, name, 1 << number, raising=False)
    monkeypatch.setattr(select, "kqueue", lambda: queue, raising=False)
    monkeypatch.setattr(select, "kevent", lambda pid, **values: (pid, values), raising=False)
    monkeypatch.setattr(leash.os, "_exit", _end)
    with pytest.raises(_Ended):
        leash._end_after(leash._WAITS["darwin"], 4711)
    assert queue.is_closed
    if error is None:
        assert queue.asked == [(4711, {"filter": 1, "flags": 6, "fflags": 8})]


@pytest.mark.parametrize(
    ("handle", "waited", "ends"), [(7, 0, True), (0, 0, False), (7, 0xFFFFFFFF, False)]
)
def test_on_windows_the_parents_end_is_ours(
    monkeypatch: pytest.MonkeyPatch, handle: int, waited: int, ends: bool
) -> None:
    asked: list[tuple[Any, ...]] = []

    def open_process(*words: Any) -> int:
        asked.append(words)
        return handle

    kernel = SimpleNamespace(OpenProcess=open_process, WaitForSingleObject=lambda *_: waited)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(leash.os, "_exit", _end)
    if ends:
        with pytest.raises(_Ended):
            leash._end_after(leash._WAITS["win32"], 4711)
    else:
        # Standard input tells, too: nothing ends because the other means is not there.
        leash._end_after(leash._WAITS["win32"], 4711)
    assert asked == [(0x00100000, False, 4711)]


def test_a_system_that_is_not_known_has_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    monkeypatch.setattr(leash.sys, "platform", "plan9")
    leash.end_with_parent()
    assert threading.active_count() == before


def test_where_there_is_such_a_means_a_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ended = threading.Event()
    monkeypatch.setattr(leash.sys, "platform", "darwin")
    monkeypatch.setattr(leash, "_WAITS", {"darwin": asked.append})
    monkeypatch.setattr(leash.os, "_exit", lambda _status: ended.set())
    leash.end_with_parent()
    assert ended.wait(5)
    assert asked == [leash.os.getppid()]
