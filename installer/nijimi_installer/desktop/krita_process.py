"""A profile and a display enter; a running Krita leaves, and steps that run inside it.

The plugin ``nijimi_driver`` beside this file runs in that Krita. It reads requests from a folder
(a Python file, a function's name, arguments) and runs the function, a generator, from Krita's
top-level event loop; see its docstring.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DemoFailed, MissingProgram
from .pointer import Pointer
from .profile import KritaProfile

__all__ = ["KritaProcess"]

DRIVER_DIR = Path(__file__).parent / "driver"


class KritaProcess:
    """Krita with the driver plugin, for tests and for the headless demo."""

    def __init__(self, profile: KritaProfile, display: str, **environment: str) -> None:
        self.profile = profile
        self.pointer = Pointer(display)
        self.box = profile.root / "driver-box"
        self.log_path = profile.root / "krita.log"
        self._environment = profile.environment(
            display, NIJIMI_DRIVER_BOX=str(self.box), **environment
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def __enter__(self) -> KritaProcess:
        self.box.mkdir(parents=True, exist_ok=True)
        for stale in self.box.iterdir():
            stale.unlink()
        self.profile.install_plugin(
            DRIVER_DIR / "nijimi_driver", DRIVER_DIR / "nijimi_driver.desktop"
        )
        try:
            self._process = subprocess.Popen(
                ["krita", "--nosplash"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self.log_path.open("wb"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise MissingProgram("Krita is not installed.", "apt-get install krita") from None
        try:
            self._wait_for(self.box / "ready", 120.0, "Krita did not start")
        except BaseException:
            self.close()
            raise
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def call(self, file: Path, function: str, /, timeout_s: float = 60.0, **arguments: Any) -> Any:
        """Run ``function(**arguments)`` of ``file`` inside Krita; its value comes back as JSON."""
        request = self.post(file, function, **arguments)
        return self.result(request, timeout_s)

    def post(self, file: Path, function: str, /, **arguments: Any) -> int:
        """Begin a call and go on; ``result`` waits for it. Strokes can be made meanwhile."""
        self._count += 1
        body = {"file": str(file.resolve()), "function": function, "arguments": arguments}
        beside = self.box / f"{self._count}.part"
        beside.write_text(json.dumps(body), encoding="utf-8")
        beside.replace(self.box / f"{self._count}.request")
        return self._count

    def result(self, request: int, timeout_s: float = 60.0) -> Any:
        path = self.box / f"{request}.result"
        self._wait_for(path, timeout_s, "Krita did not answer")
        answer = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        if "error" in answer:
            raise DemoFailed(f"Inside Krita: {answer['error']}")
        return answer["value"]

    def quit(self, timeout_s: float = 30.0) -> int:
        """Close documents and windows as a user would; the exit status comes back."""
        assert self._process is not None
        self.post(DRIVER_DIR / "steps.py", "quit_krita")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoFailed("Krita did not end.", self.log_tail()) from None

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End Krita by whatever it takes."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log_tail(self, lines: int = 25) -> str:
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_for(self, path: Path, timeout_s: float, failure: str) -> None:
        end = time.monotonic() + timeout_s
        while not path.exists():
            if not self.is_running:
                raise DemoFailed(f"{failure}: it ended.", self.log_tail())
            if time.monotonic() > end:
                raise DemoFailed(f"{failure} within {timeout_s:.0f} s.", self.log_tail())
            time.sleep(0.02)
