"""Socket, child process and connection against real peers on this machine."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nijimi.link import connection as connection_module
from nijimi.link.connection import MAX_QUICK_ENDS, Connection
from nijimi.link.heartbeat import Beat, Heartbeat
from nijimi.link.socket import LinkSocket
from nijimi_protocol.version import SUBPROTOCOL
from websockets.sync.server import Server, ServerConnection, serve

FAKE = """
import json, sys, time
from websockets.sync.server import serve
from nijimi_protocol.messages import Status
from nijimi_protocol.session import ServerSession
token = sys.stdin.readline().strip()
mode = sys.argv[1]
if mode == "dies":
    print("nijimi: The model is missing. Reinstall it.", file=sys.stderr); sys.exit(2)
def handle(socket):
    session = ServerSession(token=token, device="fake", models=())
    if mode == "newer":
        from nijimi_protocol.errors import VersionMismatch
        socket.recv()
        error = VersionMismatch("The plugin speaks protocol 1, this backend 3 to 4.", "Update.")
        socket.send(session.refusal(error)); return
    session.receive(socket.recv()); socket.send(session.welcome())
    socket.send(session.send(Status(state="ready", device="fake", model="fake")))
    for data in socket: session.receive(data)
with serve(handle, "127.0.0.1", 0, subprotocols=["nijimi.1"], compression=None) as server:
    port = server.socket.getsockname()[1]
    import threading; threading.Thread(target=server.serve_forever, daemon=True).start()
    print("a line of noise"); print(json.dumps({"event": "listening", "port": port}), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def echo() -> Iterator[tuple[Server, int]]:
    def handle(socket: ServerConnection) -> None:
        for data in socket:
            if data == b"bye":
                return
            socket.send(data)

    server = serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        compression=None,
        max_size=None,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, server.socket.getsockname()[1]
    server.shutdown()


def test_messages_of_any_size_come_back_whole(
    echo: tuple[Server, int], wait: Callable[..., None]
) -> None:
    socket, got, opened = LinkSocket(), [], []
    socket.message.connect(got.append)
    socket.opened.connect(lambda: opened.append(True))
    socket.open(echo[1])
    wait(lambda: bool(opened))
    messages = [b"", b"x", bytes(range(256)) * 1024, bytes(3_000_000)]
    for data in messages:
        socket.send(data)
    wait(lambda: len(got) == len(messages))
    assert got == messages
    assert socket.pending_bytes == 0
    socket.close()
    assert not socket.is_open


def test_the_end_of_the_other_side_is_told_once(
    echo: tuple[Server, int], wait: Callable[..., None]
) -> None:
    socket, closed, opened = LinkSocket(), [], []
    socket.closed.connect(closed.append)
    socket.opened.connect(lambda: opened.append(True))
    socket.open(echo[1])
    wait(lambda: bool(opened))
    socket.send(b"bye")
    wait(lambda: bool(closed))
    assert len(closed) == 1
    socket.send(b"into the void")


def test_nobody_listening_is_told(wait: Callable[..., None]) -> None:
    socket, closed = LinkSocket(), []
    socket.closed.connect(closed.append)
    socket.open(1)
    wait(lambda: bool(closed))


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], list[str]]:
    script = tmp_path / "fake_backend.py"
    script.write_text(FAKE)
    return lambda mode: [sys.executable, str(script), mode]


def _watched(command: list[str]) -> tuple[Connection, list[str], list[tuple[str, str]]]:
    connection = Connection(command)
    states: list[str] = []
    problems: list[tuple[str, str]] = []
    connection.state_changed.connect(states.append)
    connection.problem.connect(lambda sentence, action: problems.append((sentence, action)))
    return connection, states, problems


def test_a_backend_is_started_greeted_and_ended(
    fake: Callable[[str], list[str]], wait: Callable[..., None]
) -> None:
    connection, states, problems = _watched(fake("serves"))
    connection.start()
    wait(lambda: connection.is_open)
    assert states == ["starting", "connecting", "open"]
    assert connection.backend_pid > 0
    connection.stop()
    assert not connection.is_open
    assert connection.backend_pid == 0
    assert problems == []


def test_a_killed_backend_is_started_again(
    fake: Callable[[str], list[str]], wait: Callable[..., None]
) -> None:
    import os
    import signal

    connection, states, _ = _watched(fake("serves"))
    connection.start()
    wait(lambda: connection.is_open)
    first = connection.backend_pid
    os.kill(first, signal.SIGKILL)
    wait(lambda: "reconnecting" in states)
    wait(lambda: connection.is_open)
    assert connection.backend_pid != first
    connection.stop()


def test_a_backend_that_only_dies_is_given_up_with_its_own_words(
    fake: Callable[[str], list[str]], wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nijimi.link.connection._BACKOFF_MS", (1,) * MAX_QUICK_ENDS)
    connection, states, problems = _watched(fake("dies"))
    connection.start()
    wait(lambda: bool(problems))
    assert problems[0][0] == "The model is missing. Reinstall it."
    assert "Retry" in problems[0][1]
    assert states[-1] == "failed"
    assert states.count("reconnecting") >= MAX_QUICK_ENDS


def test_a_program_that_is_not_there_is_named(
    wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nijimi.link.connection._BACKOFF_MS", (1,) * MAX_QUICK_ENDS)
    connection, _, problems = _watched(["/no/such/python"])
    connection.start()
    wait(lambda: bool(problems))
    assert "/no/such/python" in problems[0][0]


def test_without_an_installation_the_command_is_told() -> None:
    connection, states, problems = _watched([])
    connection.start()
    assert states == ["failed"]
    assert "python3 installer run" in problems[0][1]


def test_a_backend_that_hangs_is_replaced(
    fake: Callable[[str], list[str]], wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal
    import time

    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("this system cannot stop a process")
    monkeypatch.setattr(connection_module, "READY_PATIENCE_S", 1.0)
    connection, states, problems = _watched(fake("serves"))
    connection.start()
    wait(lambda: connection.is_open)
    # A healthy one is left alone, however long nothing is to be said.
    quiet = time.monotonic() + 4.0
    wait(lambda: time.monotonic() > quiet)
    assert "reconnecting" not in states
    first = connection.backend_pid
    os.kill(first, signal.SIGSTOP)
    stopped = time.monotonic()
    wait(lambda: "reconnecting" in states)
    assert time.monotonic() - stopped < 5.0
    wait(lambda: connection.is_open)
    assert connection.backend_pid not in (0, first)
    assert problems == []
    connection.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_heart_is_asked_when_it_is_quiet_and_given_up_when_it_stays_so() -> None:
    heart = Heartbeat(0.0)
    heart.patience_s = 4.0
    assert heart.look(0.5) is Beat.NOTHING
    assert heart.look(1.5) is Beat.ASK
    assert heart.look(2.5) is Beat.NOTHING
    heart.heard(3.0)
    assert heart.look(3.5) is Beat.NOTHING
    assert heart.look(4.5) is Beat.ASK
    assert [heart.look(4.5 + n) for n in (1, 2, 3)] == [Beat.NOTHING] * 3
    assert heart.look(8.6) is Beat.GIVE_UP


def test_our_own_absence_is_not_held_against_the_backend() -> None:
    """Krita was busy, or the laptop slept: first ask, then wait anew."""
    heart = Heartbeat(0.0)
    heart.patience_s = 4.0
    assert heart.look(1.5) is Beat.ASK
    assert heart.look(3600.0) is Beat.ASK
    assert heart.look(3601.0) is Beat.NOTHING
    heart.heard(3601.5)
    assert heart.look(3602.0) is Beat.NOTHING


def test_a_backend_that_ends_again_and_again_is_given_up_although_frames_came(
    fake: Callable[[str], list[str]], wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    monkeypatch.setattr("nijimi.link.connection._BACKOFF_MS", (1,))
    monkeypatch.setattr(connection_module, "MAX_ENDS", 3)
    connection, states, problems = _watched(fake("serves"))
    connection._ended_s = deque(maxlen=4)  # pyright: ignore[reportPrivateUsage]
    connection.start()
    for _ in range(4):
        wait(lambda: connection.is_open)
        connection.note_success()
        seen = len(states)
        os.kill(connection.backend_pid, signal.SIGKILL)
        wait(lambda seen=seen: len(states) > seen)
    assert states[-1] == "failed"
    assert "Retry" in problems[0][1]
    # The painter's wish counts anew.
    connection.start()
    wait(lambda: connection.is_open)
    connection.stop()


def test_a_backend_of_another_version_is_said_at_once_and_not_tried_again(
    fake: Callable[[str], list[str]], wait: Callable[..., None]
) -> None:
    connection, states, problems = _watched(fake("newer"))
    connection.start()
    wait(lambda: bool(problems))
    assert problems == [("The plugin speaks protocol 1, this backend 3 to 4.", "Update.")]
    assert states == ["starting", "connecting", "failed"]
    assert connection.backend_pid == 0


def test_a_frame_is_back_within_five_seconds_of_a_kill(wait: Callable[..., None]) -> None:
    """With the real server; loading a model again comes on top, and takes what it takes."""
    import os
    import signal
    import time

    quick = Path(__file__).resolve().parents[1] / "support" / "quick_backend.py"
    connection, _, problems = _watched([sys.executable, str(quick)])
    statuses: list[object] = []
    connection.received.connect(statuses.append)
    connection.start()
    wait(lambda: any(getattr(s, "state", "") == "ready" for s in statuses))
    statuses.clear()
    killed = time.monotonic()
    os.kill(connection.backend_pid, signal.SIGKILL)
    wait(lambda: any(getattr(s, "state", "") == "ready" for s in statuses))
    assert time.monotonic() - killed < 5.0
    assert problems == []
    connection.stop()
