"""Nothing enters; a virtual screen leaves, and ends with the block that opened it."""

from __future__ import annotations

import os
import subprocess
import time
from types import TracebackType

from ..errors import MissingProgram

__all__ = ["VirtualScreen"]


class VirtualScreen:
    """Xvfb with openbox as its window manager, where openbox is installed."""

    def __init__(self, width_px: int = 1600, height_px: int = 1000) -> None:
        self._size = f"{width_px}x{height_px}x24"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.display = ""

    def __enter__(self) -> VirtualScreen:
        read_end, write_end = os.pipe()
        command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", self._size]
        command += ["-nolisten", "tcp", "-dpi", "96", "-noreset"]
        try:
            screen = subprocess.Popen(
                command,
                pass_fds=[write_end],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for us; what we started we end ourselves.
                start_new_session=True,
            )
        except FileNotFoundError:
            raise MissingProgram("Xvfb is not installed.", "apt-get install xvfb") from None
        finally:
            os.close(write_end)
        self._processes.append(screen)
        number = b""
        with os.fdopen(read_end, "rb") as pipe:
            # One line, and the pipe stays open until it came: else Xvfb dies of SIGPIPE.
            number = pipe.readline()
        if not number.strip():
            self.close()
            raise MissingProgram("Xvfb did not start.", "Try it by hand: Xvfb :99")
        self.display = f":{number.decode().strip()}"
        try:
            manager = subprocess.Popen(
                ["openbox"],
                env={**os.environ, "DISPLAY": self.display},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._processes.append(manager)
        except FileNotFoundError:
            pass  # Krita works without a window manager, only less like on a desktop.
        time.sleep(0.2)
        return self

    def close(self) -> None:
        """End what was started here, newest first."""
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
