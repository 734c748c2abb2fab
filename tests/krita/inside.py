"""Steps of the tests, run inside Krita by the driver plugin."""

import os
import signal
import time

from krita import Krita, Selection
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtCore import QByteArray
    from PyQt5.QtWidgets import QComboBox, QToolButton
except ImportError:
    from PyQt6.QtCore import QByteArray
    from PyQt6.QtWidgets import QComboBox, QToolButton


def document():
    return Krita.instance().activeDocument()


def wait_for_rest():
    def rests():
        if not document().tryBarrierLock():
            return False
        document().unlock()
        return True

    yield 60
    yield rests
    yield 60
    return True


def layer_names():
    return [node.name() for node in document().topLevelNodes()]


def revision():
    session = contents().connection.session
    return session.revision if session is not None else 0


def frames_shown():
    return contents().flow.metrics_report()["frames"]


def action(name):
    Krita.instance().action(name).trigger()
    yield 150
    yield from wait_for_rest()
    return True


def toggle_visibility(name):
    """As a click on the eye does: through the node model."""
    node = document().nodeByName(name)
    node.setVisible(not node.visible())
    document().refreshProjection()
    yield 50
    return node.visible()


def apply_filter(name, layer):
    node = document().nodeByName(layer)
    done = Krita.instance().filter(name).apply(node, 0, 0, document().width(), document().height())
    document().refreshProjection()
    yield 50
    return done


def select_and_fill(x, y, width, height):
    selection = Selection()
    selection.select(x, y, width, height, 255)
    document().setSelection(selection)
    yield 100
    yield from action("fill_selection_foreground_color")
    return True


def select(x, y, width, height, feather=0):
    """A rectangle, feathered by so many pixels; as the painter's tool would leave it."""
    selection = Selection()
    selection.select(x, y, width, height, 255)
    if feather:
        selection.feather(feather)
    document().setSelection(selection)
    yield 100
    return [selection.x(), selection.y(), selection.width(), selection.height()]


def deselect():
    document().setSelection(None)
    yield 100
    return True


def flattened(visible_only=False):
    """The document's own pixels at its own depth, as digest, outside and inside the selection.

    With ``visible_only`` the colour of a fully transparent 8-bit pixel counts for nothing: beside
    any edge of any layer Krita's compositing sets that of up to seven such neighbours to zero.
    """
    import hashlib

    whole = document()
    wide, high = whole.width(), whole.height()
    size = {"U8": 1, "U16": 2, "F32": 4}[whole.colorDepth()]
    size *= {"RGBA": 4, "GRAYA": 2}[whole.colorModel()]
    data = bytes(whole.pixelData(0, 0, wide, high))
    selection = whole.selection()
    mask = bytes(selection.pixelData(0, 0, wide, high)) if selection is not None else b""
    outside, inside = hashlib.sha256(), hashlib.sha256()
    for n in range(wide * high):
        part = data[n * size : (n + 1) * size]
        if visible_only and not part[-1]:
            part = b""
        (inside if mask and mask[n] else outside).update(part)
    return {"outside": outside.hexdigest(), "inside": inside.hexdigest(), "selected": len(mask)}


def unfold():
    """Show what the docker keeps folded away."""
    from PyQt5.QtWidgets import QWidget

    contents().panel.findChild(QWidget, "nijimi_more").click()
    yield 200
    return True


def picture_area():
    picture = contents().flow._presenter.picture
    return list(picture.area) if picture is not None else []


def picture_is_of_selection():
    picture = contents().flow._presenter.picture
    return picture is not None and picture.selected is not None


def kill_backend():
    pid = contents().connection.backend_pid
    os.kill(pid, signal.SIGKILL)
    return pid


def open_second_document(width=300, height=200):
    app = Krita.instance()
    second = app.createDocument(width, height, "second", "RGBA", "U8", "", 72.0)
    app.activeWindow().addView(second)
    yield 400
    return {"count": len(app.documents()), "width": document().width()}


def show_document(width):
    """Bring the document of that width to the front."""
    window = Krita.instance().activeWindow()
    for view in window.views():
        if view.document().width() == width:
            window.showView(view)
            view.setVisible()
    yield 400
    return document().width()


def close_active_document():
    document().setModified(False)
    document().close()
    yield 400
    return len(Krita.instance().documents())


def picture_extent():
    session = contents().connection.session
    return list(session.picture[1]) if session is not None else []


def mirrored_canvas():
    """The extent of the canvas that the backend mirrors."""
    session = contents().connection.session
    extent = session.plane_extent("canvas") if session is not None else None
    return list(extent) if extent is not None else []


def colour_at(layer, x, y):
    return list(bytes(document().nodeByName(layer).pixelData(x, y, 1, 1)))


def turn_of_the_watcher_ms():
    """How long Krita stands still for one look at the document in front."""
    watcher = contents().flow._room.watcher
    started = time.perf_counter()
    watcher._turn()
    return (time.perf_counter() - started) * 1000


def set_opacity(name, opacity):
    """By the scripting interface, which fires no signal."""
    document().nodeByName(name).setOpacity(opacity)
    document().refreshProjection()
    yield 50
    return True


def remove_layer(name):
    document().nodeByName(name).remove()
    document().refreshProjection()
    yield 50
    return layer_names()


def add_filled_layer(name):
    layer = document().createNode(name, "paintlayer")
    layer.setPixelData(QByteArray(b"\x10\x80\xf0\xff" * 6400), 30, 30, 80, 80)
    document().rootNode().addChildNode(layer, None)
    yield 50
    return layer_names()


def active_layer():
    return document().activeNode().name()


def problems():
    """Everything that the painter is told at present, the first of which is shown."""
    return " ".join(str(told) for told in contents().live_state._problems.values())


def problem():
    return contents().live_state.problem


def settle():
    yield 1500
    return revision()


def add_mask(kind, layer, x, y, width, height):
    """A selection or transparency mask on a layer, as the painter's menu makes it; it is active."""
    document().setActiveNode(document().nodeByName(layer))
    yield 150
    selection = Selection()
    selection.select(x, y, width, height, 255)
    document().setSelection(selection)
    yield 100
    if kind == "selectionmask":
        mask = document().createSelectionMask("my mask")
        document().nodeByName(layer).addChildNode(mask, None)
        mask.setSelection(selection)
    else:
        yield from action("add_new_transparency_mask")
        mask = next(n for n in document().nodeByName(layer).childNodes() if n.type() == kind)
    document().setSelection(None)
    yield 200
    document().setActiveNode(mask)
    document().refreshProjection()
    yield 200
    return [document().activeNode().name(), document().activeNode().type()]


def activate(name):
    document().setActiveNode(document().nodeByName(name))
    yield 150
    return document().activeNode().name()


def fill_layer(name, x, y, width, height):
    """A rectangle of full opacity, in a layer of any kind, by its own paint."""
    yield from activate(name)
    yield from select_and_fill(x, y, width, height)
    document().setSelection(None)
    yield 100
    return True


def node_mask():
    """What the active node covers: its bounds, and the share of the canvas that is full."""
    from nijimi.canvas import mask_layers

    chosen = mask_layers.active_node(document())
    mask = mask_layers.node_mask(document(), chosen.id)
    bounds = mask_layers.node_bounds(document(), chosen.id)
    if mask is None:
        return {"name": chosen.name, "mask": None}
    return {
        "name": chosen.name,
        "mask": list(mask.bounds),
        "full": sum(1 for value in mask.pixels if value == 255),
        "bounds": list(bounds),
    }


def sent_context():
    """The context that the backend was told last."""
    context = contents().flow._params.accepted.inpaint.context
    return list(context) if context is not None else None


def captured_colour(x, y):
    """What the picture starts from at a place, as the capture sees it now."""
    from nijimi.canvas.capture import document_reader
    from nijimi.canvas.flattening import in_the_way, reader_without
    from nijimi_protocol.geometry import Bounds, Extent

    left_out = contents().flow._room.capture.left_out
    whole = Extent(document().width(), document().height())
    reader = document_reader(document(), whole)
    is_hidden = in_the_way(document(), left_out)
    if is_hidden:
        reader = reader_without(document(), left_out)
    if reader is None:
        return None
    return {"colour": list(reader(Bounds(x, y, 1, 1))), "hidden": is_hidden}


def projected_colour(x, y):
    return list(bytes(document().pixelData(x, y, 1, 1)))


def reopen(path):
    """Save, close, and open again."""
    document().setBatchmode(True)
    document().saveAs(path)
    yield 600
    document().setModified(False)
    document().close()
    yield 600
    app = Krita.instance()
    app.activeWindow().addView(app.openDocument(path))
    yield 900
    return layer_names()


def document_note():
    return bytes(document().annotation("nijimi/controls")).decode()


def add_to_selection(x, y, width, height):
    selection = document().selection()
    more = Selection()
    more.select(x, y, width, height, 255)
    selection.add(more)
    document().setSelection(selection)
    yield 100
    return True


def selected_pixels():
    selection = document().selection()
    if selection is None:
        return 0
    whole = (0, 0, document().width(), document().height())
    return sum(1 for value in bytes(selection.pixelData(*whole)) if value)


def listed_models():
    """What the docker's list of models shows."""
    choice = contents().panel.findChild(QComboBox, "nijimi_model")
    return [choice.itemText(n) for n in range(choice.count())]


def choose_model(text):
    """As the painter does; gives the model that pictures come from then."""
    choice = contents().panel.findChild(QComboBox, "nijimi_model")
    number = choice.findText(text)
    assert number >= 0, text
    choice.setCurrentIndex(number)
    choice.activated.emit(number)
    yield 100
    return contents().settings.get("model")


def offered_adapters():
    button = contents().panel.findChild(QToolButton, "nijimi_add_adapter")
    button.menu().aboutToShow.emit()
    return [each.text() for each in button.menu().actions()]


def model_in_use():
    return contents().flow.metrics_report()["model"]


def setting(name):
    return contents().settings.get(name)


def menu_titles():
    """What stands in the menu Tools, Nijimi."""
    return [each.text() for each in Krita.instance().action("nijimi").menu().actions()]
