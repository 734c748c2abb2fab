"""Steps that tests and demo share; each runs inside Krita, called by the driver plugin."""

from krita import Krita, ManagedColor

try:
    from PyQt5.QtCore import QByteArray, QPoint, QTimer
    from PyQt5.QtWidgets import QAbstractScrollArea, QApplication, QWidget
except ImportError:
    from PyQt6.QtCore import QByteArray, QPoint, QTimer
    from PyQt6.QtWidgets import QAbstractScrollArea, QApplication, QWidget


def main_window():
    return Krita.instance().activeWindow().qwindow()


def canvas_widget():
    """The widget that the active document is painted on."""
    for widget in main_window().findChildren(QWidget):
        name = widget.metaObject().className()
        if name in ("KisQPainterCanvas", "KisOpenGLCanvas2") and widget.isVisible():
            return widget
    return None


def fill_screen():
    """The main window as large as the screen."""
    window = main_window()
    window.setGeometry(QApplication.primaryScreen().availableGeometry().adjusted(2, 24, -4, -6))
    yield 300
    return [window.width(), window.height()]


def scroll_area():
    widget = canvas_widget().parent()
    while not isinstance(widget, QAbstractScrollArea):
        widget = widget.parent()
    return widget


def new_document(width=512, height=512, resolution=72.0, name="demo", depth="U8", model="RGBA"):
    """A document with a white background and one empty paint layer, active, at 100 %."""
    app = Krita.instance()
    profile = "sRGB-elle-V2-srgbtrc.icc" if model == "RGBA" else ""
    document = app.createDocument(width, height, name, model, depth, profile, resolution)
    app.activeWindow().addView(document)
    yield 300
    for node in document.topLevelNodes():
        if node.type() == "paintlayer":
            if depth == "U8" and model == "RGBA":
                node.setPixelData(QByteArray(b"\xff" * (width * height * 4)), 0, 0, width, height)
            node.setName("paper")
    layer = document.createNode("paint", "paintlayer")
    document.rootNode().addChildNode(layer, None)
    document.refreshProjection()
    yield 200
    document.setActiveNode(layer)
    Krita.instance().action("zoom_to_100pct").trigger()
    Krita.instance().action("KritaShape/KisToolBrush").trigger()
    document.setModified(False)
    yield 300
    return {"layers": [node.name() for node in document.topLevelNodes()]}


def choose_brush(size=20.0, colour=(0, 0, 0), preset="b) Basic-5 Size"):
    """A brush preset, its diameter in document pixels and its colour (red, green, blue)."""
    view = Krita.instance().activeWindow().activeView()
    presets = Krita.instance().resources("preset")
    if preset in presets:
        view.setCurrentBrushPreset(presets[preset])
    view.setBrushSize(size)
    red, green, blue = colour
    managed = ManagedColor("RGBA", "U8", "")
    managed.setComponents([blue / 255, green / 255, red / 255, 1.0])
    view.setForeGroundColor(managed)
    yield 80
    return preset in presets


def canvas_origin():
    """Where the document's pixel (0, 0) is on the screen at 100 %, unrotated, and the scale."""
    widget, area = canvas_widget(), scroll_area()
    corner = widget.mapToGlobal(QPoint(0, 0))
    return {
        "x": corner.x(),
        "y": corner.y(),
        "width": widget.width(),
        "height": widget.height(),
        "scroll_x": area.horizontalScrollBar().value(),
        "scroll_y": area.verticalScrollBar().value(),
        "range_x": [area.horizontalScrollBar().minimum(), area.horizontalScrollBar().maximum()],
        "range_y": [area.verticalScrollBar().minimum(), area.verticalScrollBar().maximum()],
        "page": [area.horizontalScrollBar().pageStep(), area.verticalScrollBar().pageStep()],
        "zoom": Krita.instance().activeWindow().activeView().canvas().zoomLevel(),
    }


def layer_bytes(name):
    """The pixels of a layer as hexadecimal digest and count of inked pixels."""
    import hashlib

    document = Krita.instance().activeDocument()
    node = document.nodeByName(name)
    data = bytes(node.pixelData(0, 0, document.width(), document.height()))
    inked = sum(1 for n in range(3, len(data), 4) if data[n])
    return {"digest": hashlib.sha256(data).hexdigest(), "inked": inked}


def save_png(path):
    """The document as it is seen, as PNG."""
    document = Krita.instance().activeDocument()
    image = document.projection(0, 0, document.width(), document.height())
    if not image.save(path, "PNG"):
        raise OSError(f"{path} could not be written")


def save_document(path):
    document = Krita.instance().activeDocument()
    document.setBatchmode(True)
    if not document.saveAs(path):
        raise OSError(f"{path} could not be written")


def screenshot(path):
    """The whole screen as PNG."""
    if not QApplication.primaryScreen().grabWindow(0).save(path, "PNG"):
        raise OSError(f"{path} could not be written")


def close_documents():
    for document in Krita.instance().documents():
        document.setModified(False)
        document.close()
    yield 200
    return len(Krita.instance().documents())


def quit_krita():
    """Documents first, then the window; ``exit`` with a window up would crash Krita."""
    for document in Krita.instance().documents():
        document.setModified(False)
        document.close()
    yield 300
    QTimer.singleShot(0, main_window().close)
    return True
