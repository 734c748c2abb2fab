"""Faults in the middle of our changes to a document, run inside Krita by the driver plugin."""

import hashlib

from krita import Krita
from nijimi_driver.plugin import contents


def document():
    return Krita.instance().activeDocument()


def everything():
    """Every layer and its pixels, the notes of the file, and how long the undo history is."""
    found = []
    for node in document().topLevelNodes():
        box = node.bounds()
        data = bytes(node.pixelData(box.x(), box.y(), box.width(), box.height()))
        shapes = [shape.name() for shape in node.shapes()] if node.type() == "vectorlayer" else []
        found.append([node.name(), node.opacity(), hashlib.sha256(data).hexdigest(), shapes])
    return {"layers": found, "notes": document().annotationTypes()}


def entries():
    return [[entry.what, entry.outcome] for entry in contents().flow._room.journal.entries]


def break_function(module, name, after):
    """From now on that function of ours works ``after`` times more, and then raises."""
    import importlib

    holder = importlib.import_module(f"nijimi.canvas.{module}")
    real = getattr(holder, name)
    left = [after]

    def broken(*arguments, **named):
        value = real(*arguments, **named)
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("wrapped C/C++ object has been deleted")
        return value

    broken.real = real
    setattr(holder, name, broken)
    return True


def mend_function(module, name):
    import importlib

    holder = importlib.import_module(f"nijimi.canvas.{module}")
    setattr(holder, name, getattr(holder, name).real)
    return True


def apply_now():
    contents().flow.apply()
    yield lambda: contents().flow._presenter._to_apply is None
    yield 200
    return contents().live_state.problem


def leave_a_preview():
    """As a crash does: the layer is there, and nobody remembers it."""
    layer = document().createNode("Nijimi preview", "paintlayer")
    layer.setLocked(True)
    document().rootNode().addChildNode(layer, None)
    yield 300
    return [node.name() for node in document().topLevelNodes()]


def add_person_in_vain(preset):
    before = len(contents().flow._room.journal.entries)
    contents().flow.controls.add_person(preset)
    yield lambda: len(contents().flow._room.journal.entries) > before
    yield 300
    return contents().live_state.problem
