"""Animations, made and looked at from inside Krita by the driver plugin."""

from krita import Krita
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtCore import QByteArray
    from PyQt5.QtWidgets import QPushButton, QSpinBox
except ImportError:
    from PyQt6.QtCore import QByteArray
    from PyQt6.QtWidgets import QPushButton, QSpinBox


def document():
    return Krita.instance().activeDocument()


def draw_frames(colours, apart):
    """A new animated layer: a square of each colour, so many frames apart, further right each."""
    layer = document().createNode("drawn", "paintlayer")
    document().rootNode().addChildNode(layer, None)
    yield 200
    layer.enableAnimation()
    document().setActiveNode(layer)
    yield 200
    for n, colour in enumerate(colours):
        document().setCurrentTime(n * apart)
        yield 250
        Krita.instance().action("add_blank_frame").trigger()
        yield 300
        data = QByteArray(bytes([*colour[::-1], 255]) * 10000)
        layer.setPixelData(data, 20 + 60 * n, 200, 100, 100)
    document().setCurrentTime(0)
    document().refreshProjection()
    yield 300
    return [time for time in range(20) if layer.hasKeyframeAtTime(time)]


def dialog_fields():
    """What the questions begin with; None where they are not asked."""
    dialog = contents().animation
    if dialog is None or not dialog.isVisible():
        return None
    return [field.value() for field in dialog.findChildren(QSpinBox)]


def dialog_button(name):
    """Where a button of it is, in logical pixels of the screen."""
    button = contents().animation.findChild(QPushButton, name)
    place = button.mapToGlobal(button.rect().center())
    return [place.x(), place.y()]


def is_running():
    return contents().flow.animator.is_running


def progress():
    running = contents().flow.generator.queue.running
    return [running.done, running.count] if running is not None else None


def layers():
    """Of every top layer its name, and its frames where it is animated."""
    return [
        [
            node.name(),
            [t for t in range(20) if node.hasKeyframeAtTime(t)] if node.animated() else [],
        ]
        for node in document().topLevelNodes()
    ]


def now():
    return document().currentTime()


def undo_text():
    return Krita.instance().action("edit_undo").text()


def frames_of(name):
    """A few values of each frame of a layer, read through a copy."""
    copy = document().clone()
    found = []
    for node in copy.topLevelNodes():
        if node.name() != name:
            node.setVisible(False)
    for time in range(6):
        copy.setCurrentTime(time)
        copy.waitForDone()
        copy.refreshProjection()
        found.append(list(bytes(copy.pixelData(0, 250, copy.width(), 1)))[::97])
    copy.setModified(False)
    copy.close()
    return found
