"""Requests enter as files; functions run inside Krita, and their values leave as files.

Everything runs from Krita's top-level event loop, driven by a QTimer. A function may be a
generator: ``yield milliseconds`` waits, ``yield predicate`` waits until it is true, and its
``return`` value is the answer. Nested event loops are never used: Krita holds back layer changes
while one runs.
"""

import faulthandler
import importlib.util
import inspect
import json
import os
import sys
import time
import traceback
from pathlib import Path

from krita import Extension, Krita

try:
    from PyQt5.QtCore import QTimer
except ImportError:
    from PyQt6.QtCore import QTimer

POLL_MS = 15
PREDICATE_TIMEOUT_S = 55.0


class Driver(Extension):
    """Polls the box and steps the running generator."""

    def __init__(self, parent):
        super().__init__(parent)
        self.box = Path(os.environ["NIJIMI_DRIVER_BOX"])
        self.modules = {}
        self.running = None
        self.timer = None

    def setup(self):
        faulthandler.enable()
        # Krita's own hook opens a modal dialog, which would hang the run.
        sys.excepthook = lambda *error: traceback.print_exception(*error)

    def createActions(self, window):
        if self.timer is None:
            self.timer = QTimer()
            self.timer.timeout.connect(self.turn)
            self.timer.start(POLL_MS)
            QTimer.singleShot(500, lambda: (self.box / "ready").write_text("ready"))

    def turn(self):
        if self.running is not None:
            self.step()
            return
        for path in sorted(self.box.glob("*.request"), key=lambda p: int(p.stem)):
            request = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            self.begin(path.stem, request)
            return

    def begin(self, number, request):
        try:
            function = getattr(self.load(request["file"]), request["function"])
            value = function(**request["arguments"])
        except Exception:
            self.answer(number, {"error": traceback.format_exc()})
            return
        if not inspect.isgenerator(value):
            self.answer(number, {"value": value})
            return
        self.running = [number, value, 0.0, None, 0.0]
        self.step()

    def step(self):
        number, generator, wake_at, predicate, deadline = self.running
        now = time.monotonic()
        if now < wake_at:
            return
        try:
            if predicate is not None and not predicate():
                if now < deadline:
                    return
                source = inspect.getsource(predicate).strip()
                raise TimeoutError(f"never came true: {source}")
            wish = next(generator)
            if callable(wish):
                self.running = [number, generator, 0.0, wish, now + PREDICATE_TIMEOUT_S]
            else:
                self.running = [number, generator, now + (wish or 0) / 1000, None, 0.0]
        except StopIteration as end:
            self.running = None
            self.answer(number, {"value": end.value})
        except Exception:
            self.running = None
            self.answer(number, {"error": traceback.format_exc()})

    def answer(self, number, value):
        beside = self.box / (number + ".answer")
        beside.write_text(json.dumps(value), encoding="utf-8")
        beside.replace(self.box / (number + ".result"))

    def load(self, name):
        stamp = os.stat(name).st_mtime_ns
        if self.modules.get(name, (None, None))[0] != stamp:
            spec = importlib.util.spec_from_file_location("steps_" + Path(name).stem, name)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.modules[name] = (stamp, module)
        return self.modules[name][1]


Krita.instance().addExtension(Driver(Krita.instance()))
