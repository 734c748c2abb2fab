"""A backend that fails, in each way that it can: who is connected hears a sentence, or a new one
can be started; nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.logbook import newest_logs
from nijimi_protocol.params import RenderParams
from websockets.exceptions import InvalidStatus

from tests.support.backend_process import BackendProcess
from tests.support.live_client import LiveClient
from tests.support.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a wish that nobody else may read"


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIJIMI_LOGS", str(tmp_path / "logs"))
    return tmp_path / "logs"


@pytest.fixture
def backend(logs: Path) -> Iterator[BackendProcess]:
    with BackendProcess(quick=True) as backend:
        yield backend


@pytest.fixture
def client(backend: BackendProcess) -> Iterator[LiveClient]:
    with LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
        client.open_canvas(Extent(64, 64))
        yield client


def _ask(client: LiveClient, prompt: str) -> None:
    client.set(RenderParams(prompt=prompt, num_inference_steps=1))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("fault memory", "does not fit"),
        ("fault disk", "disk is full"),
        ("fault ours", "fault in Nijimi"),
    ],
)
def test_a_fault_is_a_sentence_and_the_next_picture_comes(
    client: LiveClient, prompt: str, words: str
) -> None:
    _ask(client, prompt)
    error = client.wait_for_error()
    assert words in error.sentence
    assert error.action
    assert not error.fatal
    _ask(client, "a house")
    assert client.wait_for_frame(client.session.revision).seed == 0


def test_a_lost_device_is_told_and_ends_the_process_for_a_new_one(
    backend: BackendProcess, client: LiveClient
) -> None:
    _ask(client, "fault device")
    assert client.wait_for_error().code == "device_lost"
    assert backend.process.wait(5) == 3


def test_a_crash_in_c_leaves_a_note_on_this_machine_only(
    backend: BackendProcess, client: LiveClient, logs: Path
) -> None:
    _ask(client, "fault segfault")
    assert backend.process.wait(10) == -signal.SIGSEGV
    (note,) = [path for path in logs.glob("crash-*.txt") if path.stat().st_size]
    text = note.read_text()
    assert "Segmentation fault" in text
    assert "quick_backend.py" in text


def test_a_clean_end_leaves_no_note(logs: Path) -> None:
    with BackendProcess(quick=True) as backend, LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
    assert list(logs.glob("crash-*")) == []
    assert newest_logs("backend")


def test_what_the_painter_writes_is_in_no_log(logs: Path) -> None:
    with BackendProcess("--log-words", quick=True) as loud:
        _fail_and_paint(loud)
    # The fault's own words come where they were asked for: so this test can fail.
    assert "what nobody thought of" in _logged(logs)
    for path in logs.iterdir():
        path.unlink()
    with BackendProcess(quick=True) as quiet:
        _fail_and_paint(quiet)
    text = _logged(logs)
    assert "rendering failed" in text
    assert "what nobody thought of" not in text
    assert SECRET not in text
    assert quiet.token not in text


def _fail_and_paint(backend: BackendProcess) -> None:
    with LiveClient(backend.port, backend.token) as client:
        client.wait_for_state("ready")
        client.open_canvas(Extent(64, 64))
        _ask(client, SECRET)
        client.wait_for_frame(client.session.revision)
        _ask(client, "fault ours")
        client.wait_for_error()


def _logged(logs: Path) -> str:
    return "".join(path.read_text() for path in logs.iterdir())


def test_frames_are_logged_by_stage_and_as_objects(logs: Path) -> None:
    with BackendProcess(quick=True) as backend:
        _fail_and_paint(backend)
    lines = [json.loads(line) for line in _logged(logs).splitlines()]
    (frames,) = [line["data"] for line in lines if line["text"] == "frames"]
    assert frames["frames"] >= 1
    assert "queue" in frames["stages_ms"]


def test_a_port_that_is_taken_is_a_sentence(backend: BackendProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nijimi_backend", "serve", "--port", str(backend.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"Port {backend.port} cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
child.stdin.write(b"token-of-this-test\\n"); child.stdin.flush()
print(child.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("state", ["idle", "stopped"])
def test_the_backend_dies_with_a_parent_that_was_killed(logs: Path, state: str) -> None:
    """``stopped``: it can do nothing itself, as when it hangs inside a library."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the kernel's signal at the parent's death is Linux's")
    quick = ROOT / "tests" / "support" / "quick_backend.py"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(quick), "--token-stdin"], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert b"listening" in parent.stdout.readline()
    if state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 5.0
    while is_alive(pid):
        assert time.monotonic() < end, "an orphan"
        time.sleep(0.05)


STANDSTILL = """
import asyncio, sys, time
from nijimi_backend.leash import show_life
async def main():
    task = asyncio.create_task(show_life(sys.stdout, 0.6))
    await asyncio.sleep(2.0 if sys.argv[1] == "lives" else 0.1)
    if sys.argv[1] == "hangs":
        time.sleep(30)
    task.cancel()
    print("a clean end", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "status"), [("lives", 0), ("hangs", 1)])
def test_a_process_that_stands_still_ends_itself(how: str, status: int) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STANDSTILL, how],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == status
    assert ("a clean end" in done.stdout) is (how == "lives")
    assert ("Timeout" in done.stdout) is (how == "hangs")
    assert time.monotonic() - started < 20


def test_no_decision_hangs_on_the_wall_clock() -> None:
    """It jumps: at summer time, after a sleep, when the network sets it."""
    rooms = ("backend/nijimi_backend/session", "krita_plugin/nijimi/link",
             "krita_plugin/nijimi/live", "krita_plugin/nijimi/canvas/watcher.py",
             "shared_protocol/nijimi_protocol/client_session.py",
             "shared_protocol/nijimi_protocol/server_session.py")  # fmt: skip
    looked_at = 0
    for room in rooms:
        path = ROOT / room
        for file in [path] if path.is_file() else path.rglob("*.py"):
            looked_at += 1
            text = file.read_text(encoding="utf-8")
            for clock in ("time.time(", "datetime", "localtime", "gmtime"):
                assert clock not in text, f"{file.name} asks {clock}"
    assert looked_at > 15


def test_a_huge_canvas_after_another_is_refused_while_the_small_one_goes_on(logs: Path) -> None:
    with (
        BackendProcess("--memory-gib", "0.02", quick=True) as backend,
        LiveClient(backend.port, backend.token) as small,
        LiveClient(backend.port, backend.token) as large,
    ):
        small.wait_for_state("ready")
        large.wait_for_state("ready")
        small.open_canvas(Extent(64, 64))
        large.open_canvas(Extent(2048, 2048))
        large.paint(Bounds(0, 0, 256, 256), 7)
        error = large.wait_for_error()
        assert error.code == "server_full"
        assert "MiB" in error.sentence
        _ask(small, "a house")
        small.wait_for_frame(small.session.revision)
        # Once it is small enough, it is served as well.
        large.open_canvas(Extent(128, 128))
        large.paint(Bounds(0, 0, 128, 128), 7)
        _ask(large, "a house")
        frame = large.wait_for_frame(large.session.revision)
        assert frame.extent == Extent(128, 128)


def test_more_clients_than_are_taken_are_turned_away(logs: Path) -> None:
    with (
        BackendProcess("--max-clients", "2", quick=True) as backend,
        LiveClient(backend.port, backend.token) as first,
    ):
        first.wait_for_state("ready")
        with LiveClient(backend.port, backend.token) as second:
            second.wait_for_state("ready")
            with pytest.raises(InvalidStatus) as refused:
                LiveClient(backend.port, backend.token)
            assert refused.value.response.status_code == 503
        # A place that is free again is given away.
        end = time.monotonic() + 5.0
        while True:
            try:
                with LiveClient(backend.port, backend.token) as third:
                    third.wait_for_state("ready")
                return
            except InvalidStatus:
                assert time.monotonic() < end
                time.sleep(0.05)
