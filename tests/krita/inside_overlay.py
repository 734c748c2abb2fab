"""The view of a document: what lies over it and where the pen is in it, from inside Krita."""

from krita import Krita
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtCore import QByteArray
    from PyQt5.QtWidgets import QAbstractScrollArea, QApplication
except ImportError:
    from PyQt6.QtCore import QByteArray
    from PyQt6.QtWidgets import QAbstractScrollArea, QApplication


def document():
    return Krita.instance().activeDocument()


def pen_trail():
    """Where the pen was a moment ago, in document pixels."""
    from nijimi_protocol.geometry import Extent

    extent = Extent(document().width(), document().height())
    return [list(place) for place in contents().flow._room.watcher.pen_trail(extent)]


def quadrants():
    """Four colours on the paper layer: the overlay's test picture is their inverse."""
    width, height = document().width(), document().height()
    rows = []
    for y in range(height):
        left, right = (
            ((230, 30, 30), (30, 230, 30)) if y < height // 2 else ((30, 30, 230), (220, 220, 40))
        )
        row = bytes([*left, 255]) * (width // 2) + bytes([*right, 255]) * (width - width // 2)
        rows.append(row)
    data = b"".join(rows)
    paper = document().nodeByName("paper")
    paper.setPixelData(QByteArray(data), 0, 0, width, height)
    document().refreshProjection()
    yield 200
    return True


def overlay_agreement(zoom=1.0, rotation=0.0, mirror=False, pan=(0, 0)):
    """How exactly the overlay covers the document in this view, as parts of sampled points.

    The overlay shows the inverse of the document: over the document every point must be
    inverted, beside it none.
    """
    from nijimi.canvas.document import canvas_widget
    from nijimi_protocol.geometry import Bounds, Extent

    view = Krita.instance().activeWindow().activeView().canvas()
    view.setZoomLevel(zoom)
    view.setRotation(rotation)
    view.setMirror(mirror)
    yield 400
    area = canvas_widget().parent()
    while not isinstance(area, QAbstractScrollArea):
        area = area.parent()
    for bar, by in ((area.horizontalScrollBar(), pan[0]), (area.verticalScrollBar(), pan[1])):
        bar.setValue(bar.value() + by)
    yield 200
    extent = Extent(document().width(), document().height())
    overlay = contents().flow._room.overlay
    overlay.clear()
    yield 300
    widget = canvas_widget()

    def grab():
        return QApplication.primaryScreen().grabWindow(widget.winId()).toImage()

    plain = grab()
    pixels = bytearray(document().pixelData(0, 0, extent.width, extent.height))
    inverse = bytearray(bytes(pixels).translate(bytes(255 - n for n in range(256))))
    inverse[3::4] = b"\xff" * extent.pixels
    overlay.set_opacity(1.0)
    overlay.show_picture(bytes(inverse), extent, Bounds(0, 0, *extent), extent)
    yield 300
    covered = grab()
    overlay.clear()
    inside = outside = wrong = 0
    for y in range(2, plain.height() - 2, 7):
        for x in range(2, plain.width() - 2, 7):
            before, after = plain.pixelColor(x, y), covered.pixelColor(x, y)
            is_document = before.saturation() > 100
            inverted = all(
                abs((255 - b) - a) < 24
                for b, a in (
                    (before.red(), after.red()),
                    (before.green(), after.green()),
                    (before.blue(), after.blue()),
                )
            )
            if is_document:
                inside += 1
                wrong += not inverted
            else:
                outside += 1
                wrong += before.rgb() != after.rgb()
    view.setRotation(0.0)
    view.setMirror(False)
    view.setZoomLevel(1.0)
    yield 200
    return {"inside": inside, "outside": outside, "wrong": wrong}


def picture_is_over_the_canvas_in_front():
    """Whether the overlay is seen there, and not on another view's canvas."""
    from nijimi.canvas.document import canvas_widget

    sheet = contents().flow._room.overlay._alive()
    return sheet is not None and sheet.isVisible() and sheet.parent() is canvas_widget()
