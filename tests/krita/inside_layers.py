"""Groups and places of layers, told and changed from inside Krita by the driver plugin."""

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
