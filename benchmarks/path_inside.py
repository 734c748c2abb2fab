"""Presses of the pen enter; when the picture of each was shown leaves. Runs inside Krita.

Beside our own plugin stands a model of the design that live plugins for Krita have today: every
100 ms the whole canvas is grabbed and compared as a picture, goes out as PNG with one job in
flight, comes back as PNG, and asyncio gets one turn in 20 ms. Its server answers at once with the
picture that it got, over one connection without HTTP's headers, which is kinder than today's.
"""

import asyncio
import struct
import time

from krita import Krita
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtCore import QBuffer, QByteArray, QEvent, QIODevice, QObject, Qt, QTimer
    from PyQt5.QtGui import QImage, QPixmap
    from PyQt5.QtWidgets import QApplication, QLabel
except ImportError:
    from PyQt6.QtCore import QBuffer, QByteArray, QEvent, QIODevice, QObject, Qt, QTimer
    from PyQt6.QtGui import QImage, QPixmap
    from PyQt6.QtWidgets import QApplication, QLabel

ALONE, OURS, TODAYS = "Krita alone", "ours", "today's"
POLL_MS = 100
TURN_MS = 20
_NEAR_PX = 260


_KEPT = {}
"""What lasts from step to step: the driver reads this file once."""


class Presses(QObject):
    """When the pen came down last, as any window of Krita heard it."""

    def __init__(self):
        super().__init__()
        self.at_s = 0.0
        QApplication.instance().installEventFilter(self)

    def eventFilter(self, _watched, event):  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.MouseButtonPress:
            self.at_s = time.perf_counter()
        return False


class KritaAlone:
    """When the pixels that a dab changed can be read at all, looked at every other millisecond."""

    def __init__(self):
        document = Krita.instance().activeDocument()
        width, height = document.width(), document.height()
        half = min(_NEAR_PX, width // 2)
        area = (width // 2 - half, height // 2 - half, 2 * half, 2 * half)
        self.stalls_ms, self.shown, self._before = [], [], None

        def look():
            pixels = bytes(document.pixelData(*area))
            if pixels != self._before:
                self._before = pixels
                self.shown.append((time.perf_counter(), 0.0))

        self._timer = QTimer()
        self._timer.timeout.connect(look)
        self._timer.start(2)

    def end(self):
        self._timer.stop()


class Ours:
    """The plugin itself: what its metrics are told."""

    def __init__(self):
        self._flow = contents().flow
        self.stalls_ms, self.shown = [], []
        metrics = self._flow.metrics
        self._frame = metrics.frame
        metrics.frame = self._told

    def _told(self, revision, shown_s, model_ms, timings_ms):
        self._frame(revision, shown_s, model_ms, timings_ms)
        self.shown.append((shown_s, model_ms))

    def end(self):
        self._flow.metrics.frame = self._frame


class Todays:
    """The model of today's design, for the document in front."""

    def __init__(self, port):
        self._loop = asyncio.new_event_loop()
        self._port, self._document = port, Krita.instance().activeDocument()
        self._before = self._job = self._streams = None
        self.stalls_ms, self.shown = [], []
        self._label = QLabel()
        self._label.resize(300, 300)
        # Not where the pen goes.
        corner = QApplication.primaryScreen().availableGeometry().bottomRight()
        self._label.move(corner.x() - 310, corner.y() - 310)
        self._label.show()
        self._timers = [self._timer(POLL_MS, self._poll), self._timer(TURN_MS, self._turn)]

    def _timer(self, ms, slot):
        def timed():
            began = time.perf_counter()
            slot()
            self.stalls_ms.append(1000 * (time.perf_counter() - began))

        timer = QTimer()
        timer.timeout.connect(timed)
        timer.start(ms)
        return timer

    def _turn(self):
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def _poll(self):
        if self._job is not None:
            if not self._job.done():
                return
            # What went wrong is told in Krita's log.
            self._job.result()
        document = self._document
        image = document.projection(0, 0, document.width(), document.height())
        if self._before is not None and image == self._before:
            return
        self._before = image
        data = QByteArray()
        buffer = QBuffer(data)
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        image.save(buffer, "PNG", 85)
        self._job = self._loop.create_task(self._ask(bytes(data)))

    async def _ask(self, png):
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(struct.pack("<Q", len(png)) + png)
        await writer.drain()
        (size,) = struct.unpack("<Q", await reader.readexactly(8))
        image = QImage.fromData(await reader.readexactly(size))
        how = Qt.TransformationMode.SmoothTransformation
        ratio = Qt.AspectRatioMode.KeepAspectRatio
        self._label.setPixmap(QPixmap.fromImage(image.scaled(300, 300, ratio, how)))
        self.shown.append((time.perf_counter(), 0.0))

    def end(self):
        for timer in self._timers:
            timer.stop()
        if self._streams is not None:
            self._streams[1].close()
        self._label.close()


def begin(way, port):
    """Watch Krita alone, our plugin, or the model of today's design with its server's port."""
    if "presses" not in _KEPT:
        _KEPT["presses"] = Presses()
    makers = {ALONE: KritaAlone, OURS: Ours, TODAYS: lambda: Todays(port)}
    _KEPT["way"] = makers[way]()
    return True


def wait_for_picture():
    """Of the newest press: milliseconds until its first picture, the networks' own taken off."""
    way, pressed_s = _KEPT["way"], _KEPT["presses"].at_s

    def newer():
        return [each for each in way.shown if each[0] > pressed_s]

    yield newer
    shown_s, model_ms = newer()[0]
    return 1000 * (shown_s - pressed_s) - model_ms


def wait_for_rest():
    """Until no picture came for a while."""
    way = _KEPT["way"]
    count = -1
    while count != len(way.shown):
        count = len(way.shown)
        yield 400
    return count


def forget_turns():
    """Only what comes after this counts."""
    _KEPT["way"].stalls_ms.clear()
    return True


def end():
    """The turns that the model took on Krita's thread since; ours are in our own metrics."""
    way = _KEPT.pop("way")
    way.end()
    return way.stalls_ms
