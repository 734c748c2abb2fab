"""Krita's documents enter; what is in them as text leaves, and the pointer's events go to them.

Used by ``inside``, which finds it beside itself.
"""

import hashlib

from krita import Krita

try:
    from PyQt5.QtCore import QEvent, QPointF, Qt
    from PyQt5.QtGui import QMouseEvent
    from PyQt5.QtWidgets import QAbstractItemView, QAbstractScrollArea, QApplication, QWidget
except ImportError:
    from PyQt6.QtCore import QEvent, QPointF, Qt
    from PyQt6.QtGui import QMouseEvent
    from PyQt6.QtWidgets import QAbstractItemView, QAbstractScrollArea, QApplication, QWidget

OUR_NAME = "Nijimi"


def is_ours(node):
    """A layer of ours, or the mask on one."""
    owner = node.parentNode() if node.type().endswith("mask") else node
    return owner is not None and owner.name().startswith(OUR_NAME)


def below(node):
    for child in node.childNodes():
        yield child
        yield from below(child)


def nodes_of(document):
    return list(below(document.rootNode()))


def painters(document):
    """Layers and masks of the painter. The selection is one of the root that cannot be chosen."""
    return [n for n in nodes_of(document) if not is_ours(n) and n.type() != "selectionmask"]


def describe(document):
    """Every layer that is not ours, and the selection: name, state and pixels."""
    found = [f"{document.width()} x {document.height()}"]
    for node in nodes_of(document):
        if is_ours(node):
            continue
        state = (
            f"{node.parentNode().name()}/{node.name()} {node.type()} {node.opacity()} "
            f"{node.visible()} {node.locked()} {node.blendingMode()}"
        )
        # A group reaches as far as what lies in it, a picture that was applied there, too.
        if node.type() == "paintlayer":
            box = node.bounds()
            where = (box.x(), box.y(), box.width(), box.height())
            state += f" {where} {hashlib.sha256(bytes(node.pixelData(*where))).hexdigest()[:16]}"
        found.append(state)
    selection = document.selection()
    if selection is not None:
        box = (selection.x(), selection.y(), selection.width(), selection.height())
        mask = bytes(selection.pixelData(*box))
        found.append(f"selected {box} {hashlib.sha256(mask).hexdigest()[:16]}")
    return found


def history_view():
    """The list of the history docker, which is there while the docker is hidden, too."""
    window = Krita.instance().activeWindow().qwindow()
    for view in window.findChildren(QAbstractItemView):
        model = view.model()
        if model is not None and model.metaObject().className() == "KisUndoModel":
            return view
    raise LookupError("no undo history")


def send(kind, point, widget, area):
    """A mouse event at a document's pixel; Krita paints real ink with it."""
    x = point[0] - area.horizontalScrollBar().value()
    y = point[1] - area.verticalScrollBar().value()
    local = QPointF(x, y)
    names = {
        "press": QEvent.MouseButtonPress,
        "move": QEvent.MouseMove,
        "release": QEvent.MouseButtonRelease,
    }
    button = Qt.NoButton if kind == "move" else Qt.LeftButton
    held = Qt.NoButton if kind == "release" else Qt.LeftButton
    there = QPointF(widget.mapToGlobal(local.toPoint()))
    event = QMouseEvent(names[kind], local, there, button, held, Qt.NoModifier)
    QApplication.sendEvent(widget, event)


def canvas_and_area():
    """The widget in front that is painted on, and the area that scrolls it."""
    for widget in Krita.instance().activeWindow().qwindow().findChildren(QWidget):
        name = widget.metaObject().className()
        if name in ("KisQPainterCanvas", "KisOpenGLCanvas2") and widget.isVisible():
            area = widget.parent()
            while not isinstance(area, QAbstractScrollArea):
                area = area.parent()
            return widget, area
    raise LookupError("no canvas")
