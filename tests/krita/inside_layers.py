"""Groups and places of layers, told and changed from inside Krita by the driver plugin."""

import struct

from krita import Krita


def add_group(name, child):
    """A group at the top with one paint layer in it."""
    document = Krita.instance().activeDocument()
    group = document.createGroupLayer(name)
    document.rootNode().addChildNode(group, None)
    group.addChildNode(document.createNode(child, "paintlayer"), None)
    yield 200
    return [node.name() for node in document.topLevelNodes()]


def choose(name, collapsed=False, locked=False):
    """Make a layer active; first its group, or itself where it is one, is folded or locked."""
    document = Krita.instance().activeDocument()
    node = document.nodeByName(name)
    group = node if node.type() == "grouplayer" else node.parentNode()
    group.setCollapsed(collapsed)
    group.setLocked(locked)
    document.setActiveNode(node)
    yield 300
    return document.activeNode().name()


def place_of(name):
    """The name of the parent, and which child of it from below; "" for the root."""
    document = Krita.instance().activeDocument()
    node = document.nodeByName(name)
    if node is None:
        return []
    parent = node.parentNode()
    at = [child.name() for child in parent.childNodes()].index(name)
    return [parent.name() if parent.parentNode() is not None else "", at]


def mask_of_layer(name):
    """The masks of a layer, the least opaque of its own pixels, and where it is seen."""
    document = Krita.instance().activeDocument()
    layer = document.nodeByName(name)
    bounds = layer.bounds()
    place = bounds.x(), bounds.y(), bounds.width(), bounds.height()
    own = bytes(layer.pixelData(*place))[3::4]
    wide, high = document.width(), document.height()
    shown = bytes(layer.projectionPixelData(0, 0, wide, high))[3::4]
    rows = [y for y in range(high) if any(shown[y * wide : (y + 1) * wide])]
    columns = [x for x in range(wide) if any(shown[x::wide])]
    seen = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    types = [node.type() for node in layer.childNodes()]
    return {"types": types, "least_alpha": min(own), "seen": seen}


def choose_mask(name):
    document = Krita.instance().activeDocument()
    document.setActiveNode(document.nodeByName(name).childNodes()[0])
    yield 300
    return document.activeNode().type()


def samples():
    """Values of the flattened document, here and there."""
    document = Krita.instance().activeDocument()
    data = bytes(document.pixelData(0, 0, document.width(), document.height()))
    if document.colorDepth() == "U16":
        data = struct.unpack(f"<{len(data) // 2}H", data)
    return list(data[::97])


def give_looks(name, new_name):
    """What a painter does with a layer: opacity, blending, label, name and a mask."""
    document = Krita.instance().activeDocument()
    layer = document.nodeByName(name)
    layer.setOpacity(120)
    layer.setBlendingMode("multiply")
    layer.setColorLabel(3)
    layer.setName(new_name)
    layer.addChildNode(document.createNode("mask", "transparencymask"), None)
    document.waitForDone()
    yield 300
    return looks_of(new_name)


def looks_of(name):
    """The layers of that name: id, looks and place, and some of their pixels."""
    document = Krita.instance().activeDocument()
    found = [node for node in document.topLevelNodes() if node.name() == name]
    return [
        {
            "id": node.uniqueId().toString(),
            "looks": [node.opacity(), node.blendingMode(), node.colorLabel(), node.visible()],
            "masks": [[child.name(), child.type()] for child in node.childNodes()],
            "place": document.topLevelNodes().index(node),
            "pixels": list(bytes(node.pixelData(0, 0, document.width(), document.height()))[::997]),
        }
        for node in found
    ]


def lock(name):
    Krita.instance().activeDocument().nodeByName(name).setLocked(True)
    yield 100
    return name


def open_picture(path):
    """A picture file comes to the front, as a painter opens it."""
    document = Krita.instance().openDocument(path)
    Krita.instance().activeWindow().addView(document)
    yield 500
    return [document.width(), document.height()]


def add_clone(name, of):
    """A clone of a layer above it, as Krita's layer menu makes one."""
    document = Krita.instance().activeDocument()
    source = document.nodeByName(of)
    document.rootNode().addChildNode(document.createCloneLayer(name, source), source)
    document.waitForDone()
    yield 300
    return source_of(name)


def source_of(name):
    """The id of what that layer is a clone of; None where this Krita does not tell."""
    node = Krita.instance().activeDocument().nodeByName(name)
    assert node.type() == "clonelayer"
    return node.sourceNode().uniqueId().toString() if hasattr(node, "sourceNode") else None
