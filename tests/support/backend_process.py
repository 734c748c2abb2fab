"""A models folder enters; a real backend process leaves, and is ended when the test is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["BackendProcess"]

TOKEN = "a-token-for-tests"
_QUICK = Path(__file__).with_name("quick_backend.py")


class BackendProcess:
    """``nijimi serve --token-stdin`` as the plugin starts it."""

    def __init__(self, *options: str, models_dir: Path | None = None, quick: bool = False) -> None:
        """``quick``: with an engine that needs no model (``quick_backend``)."""
        self._data = tempfile.TemporaryDirectory()
        words = [str(_QUICK)] if quick else ["-m", "nijimi_backend", "serve"]
        command = [sys.executable, *words, "--token-stdin", *options]
        if models_dir is not None:
            command += ["--models-dir", str(models_dir)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # What it keeps between runs is kept for this run only.
            env={**os.environ, "HF_HUB_OFFLINE": "1", "XDG_DATA_HOME": self._data.name},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{TOKEN}\n".encode())
        self.process.stdin.flush()
        self.hello: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.port: int = self.hello["port"]
        self.token = TOKEN

    def __enter__(self) -> BackendProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._data.cleanup()
