"""A plan enters; it is carried out inside Krita, and what became of the documents leaves.

Runs by the driver plugin. Beside Nijimi, an undo that meets a layer of ours takes that one first
and then the painter's step, as a painter would who wants that step undone.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from krita import Krita, ManagedColor, Selection

try:
    from PyQt5.QtCore import QTimer
    from PyQt5.QtWidgets import QApplication
except ImportError:
    from PyQt6.QtCore import QTimer
    from PyQt6.QtWidgets import QApplication

# The driver loads this file by its path.
sys.path.insert(0, str(Path(__file__).parent))

from documents import (
    below,
    canvas_and_area,
    describe,
    history_view,
    is_ours,
    nodes_of,
    painters,
    send,
)

STEP_MS = 2
PATIENCE_S = 20.0
MOST_LAYERS = 9
ASK_AGAIN_S = 0.5

KEEPS_REDO = (
    "undo", "redo", "live", "setting", "kill_backend", "generate", "cancel_batches",
    "look_at_result",
)  # fmt: skip


def begin(plan, out, with_nijimi):
    """Start; ``progress`` says how far it is."""
    global _run
    _run = Run(plan, out, with_nijimi)
    return len(plan)


def progress():
    return {"done": _run.done, "over": _run.over, "error": _run.error}


_run = None


class Run:
    """One plan on two documents, stepped by a timer from Krita's top-level event loop."""

    def __init__(self, plan, out, with_nijimi):
        self.plan, self.with_nijimi = plan, with_nijimi
        self.out = Path(out)
        self.out.write_text("", encoding="utf-8")
        self.done, self.over, self.error = 0, False, ""
        self.applied = self.undone = self.generated = 0
        self.replaced = None
        if with_nijimi:
            contents().flow.generator.results.added.connect(self.count_generated)
        self.history = history_view()
        self.ours_at = {}
        self.base = {}
        self.generator = self.everything()
        self.wish, self.until = None, 0.0
        self.timer = QTimer()
        self.timer.timeout.connect(self.turn)
        self.timer.start(STEP_MS)

    def turn(self):
        now = time.monotonic()
        if callable(self.wish):
            if not self.wish():
                if now > self.until:
                    import inspect

                    source = inspect.getsource(self.wish).strip()
                    self.finish(
                        f"waited in vain in {self.plan[self.done]} for {source}; active is "
                        f"{self.document.activeNode().name()} of {describe(self.document)}"
                    )
                return
        elif now < self.until:
            return
        try:
            wish = next(self.generator)
            self.wish = wish if callable(wish) else None
            self.until = now + (PATIENCE_S if callable(wish) else (wish or 0) / 1000)
        except StopIteration:
            self.finish("")
        except Exception:
            import traceback

            self.finish(traceback.format_exc())

    def finish(self, error):
        self.timer.stop()
        self.error, self.over = error, True

    def count_generated(self, result):
        self.generated += 1

    # The painter's document ---------------------------------------------------------------

    def everything(self):
        self.documents = Krita.instance().documents()
        for document in self.documents:
            self.show(document)
            yield 300
            self.ours_at[self.key()] = set()
            self.base[self.key()] = self.undo_state()[1]
        for n, operation in enumerate(self.plan):
            self.done, self.started_s = n, time.monotonic()
            if operation["do"] not in KEEPS_REDO:
                # An apply forgets what was undone, as anything new does; so here all of it does,
                # whether or not it left a step.
                self.undone = 0
            yield from getattr(self, "do_" + operation["do"])(operation)
            yield from self.rest()
            self.write(n, operation)
        if self.with_nijimi:
            contents().settings.set("live", False)
            yield 300
            self.write(len(self.plan), {"do": "live off"})

    def write(self, n, operation):
        texts = [describe(document) for document in self.documents]
        ours = [sum(1 for node in nodes_of(d) if is_ours(node)) for d in self.documents]
        index = self.undo_state()[1]
        modal = QApplication.activeModalWidget()
        record = {
            "n": n,
            "do": operation["do"],
            "digest": [hashlib.sha256("\n".join(text).encode()).hexdigest() for text in texts],
            "undo": index - len([at for at in self.ours_at[self.key()] if at <= index]),
            "steps_of_ours": len([at for at in self.ours_at[self.key()] if at <= index]),
            "layers_of_ours": ours,
            "applied": self.applied,
            "generated": self.generated,
            "modal": modal.metaObject().className() if modal is not None else "",
            "layers": texts,
            "seconds": round(time.monotonic() - self.started_s, 3),
        }
        with self.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def show(self, document):
        window = Krita.instance().activeWindow()
        for view in window.views():
            if view.document() == document:
                window.showView(view)
                view.setVisible()

    @property
    def document(self):
        return Krita.instance().activeDocument()

    def key(self):
        return self.document.rootNode().uniqueId().toString()

    def undo_state(self):
        """How many steps the undo history holds, and which is the current one."""
        view = self.history
        return view.model().rowCount(), view.selectionModel().currentIndex().row()

    def rest(self):
        yield 4

        def rests():
            if not self.document.tryBarrierLock():
                return False
            self.document.unlock()
            return True

        yield rests
        yield 4

    def target(self, operation):
        nodes = painters(self.document)
        node = nodes[operation["target"] % len(nodes)]
        yield from self.activate(node)
        return node

    def activate(self, node):
        """As a painter would who clicks again where Krita chose its newest layer meanwhile."""
        asked_s = 0.0

        def is_active():
            nonlocal asked_s
            if self.document.activeNode() == node:
                return True
            if time.monotonic() - asked_s > ASK_AGAIN_S:
                asked_s = time.monotonic()
                self.document.setActiveNode(node)
            return False

        yield is_active

    def trigger(self, name):
        """An action of Krita's; what was undone before it is gone afterwards."""
        before = self.undo_state()[1]
        Krita.instance().action(name).trigger()
        yield from self.rest()
        self.note_steps(before)

    def note_steps(self, before):
        if self.undo_state()[1] != before:
            at = self.ours_at[self.key()]
            at.difference_update([n for n in at if n > before])

    # Operations ---------------------------------------------------------------------------

    def do_stroke(self, operation, in_the_middle=None):
        yield from self.target(operation)
        view = Krita.instance().activeWindow().activeView()
        colour = ManagedColor("RGBA", "U8", "")
        colour.setComponents([value / 255 for value in operation["colour"]] + [1.0])
        view.setForeGroundColor(colour)
        before = self.undo_state()[1]
        points = operation["points"]
        where = canvas_and_area()
        send("press", points[0], *where)
        yield 0
        for n, point in enumerate(points[1:]):
            send("move", point, *where)
            if n % 3 == 0:
                yield 0
            if n == len(points) // 2 and in_the_middle is not None:
                in_the_middle()
        send("release", points[-1], *where)
        yield from self.rest()
        self.note_steps(before)

    def do_apply_in_stroke(self, operation):
        if not self.with_nijimi or contents().flow._presenter.picture is None:
            yield from self.do_stroke(operation)
            return
        ours = len([n for n in nodes_of(self.document) if is_ours(n)])
        yield from self.do_stroke(operation, contents().flow.apply)
        yield from self.wait_for_apply(ours)

    def do_layer(self, operation):
        node = yield from self.target(operation)
        nodes = painters(self.document)
        name = operation["action"]
        makes = name.startswith("add_") or name in ("duplicatelayer", "create_quick_group")
        if makes and len(nodes) >= MOST_LAYERS:
            return
        if name == "remove_layer" and not self.may_go(node):
            return
        if node.type().endswith("mask") and (makes or name == "remove_layer"):
            return
        yield from self.trigger(name)

    def do_remove(self, operation):
        """By the scripting interface: at once, where the painter's action takes seconds."""
        node = yield from self.target(operation)
        if not self.may_go(node):
            return
        before = self.undo_state()[1]
        node.remove()
        yield 20
        yield from self.rest()
        self.note_steps(before)

    def may_go(self, node):
        """Whether enough to paint on is left without it. Pictures of ours in a group go with it."""
        inside = [n for n in below(node) if not is_ours(n)]
        return len(painters(self.document)) - 1 - len(inside) >= 3

    def do_select(self, operation):
        yield from self.trigger(operation["action"])

    def do_rectangle(self, operation):
        before = self.undo_state()[1]
        selection = Selection()
        selection.select(
            operation["x"], operation["y"], operation["width"], operation["height"], 255
        )
        self.document.setSelection(selection)
        yield 20
        yield from self.rest()
        self.note_steps(before)

    def do_property(self, operation):
        node = yield from self.target(operation)
        node.setOpacity(operation["opacity"])
        node.setVisible(not operation["hide"])
        self.document.refreshProjection()

    def do_resize(self, operation):
        before = self.undo_state()[1]
        self.document.resizeImage(0, 0, operation["width"], operation["height"])
        yield 20
        yield from self.rest()
        self.note_steps(before)

    def do_undo(self, operation):
        while True:
            _, index = self.undo_state()
            ours = self.ours_at[self.key()]
            if index - len([at for at in ours if at <= index]) <= self.base[self.key()]:
                return
            yield from self.step("edit_undo")
            if index not in ours:
                self.undone += 1
                return

    def do_redo(self, operation):
        if not self.undone:
            return
        self.undone -= 1
        while True:
            count, index = self.undo_state()
            if index + 1 >= count:
                return
            yield from self.step("edit_redo")
            if index + 1 not in self.ours_at[self.key()]:
                return

    def step(self, name):
        before = self.undo_state()[1]
        Krita.instance().action(name).trigger()
        yield lambda: self.undo_state()[1] != before
        yield from self.rest()

    def do_switch(self, operation):
        here = self.document
        self.show(next(d for d in self.documents if d != here))
        yield lambda: self.document != here
        yield 60

    def do_live(self, operation):
        if self.with_nijimi:
            contents().settings.set("live", operation["on"])
        yield 10

    def do_setting(self, operation):
        if self.with_nijimi:
            for name, value in operation.items():
                if name != "do":
                    contents().settings.set(name, value)
        yield 5

    def do_kill_backend(self, operation):
        if self.with_nijimi and contents().connection.backend_pid:
            os.kill(contents().connection.backend_pid, signal.SIGKILL)
        yield 5

    def do_apply(self, operation):
        if not self.with_nijimi:
            return
        flow = contents().flow
        started = time.monotonic()
        # A picture of what is there now, where live is on and one can come.
        yield lambda: flow._presenter.picture is not None or time.monotonic() - started > 0.5
        if flow._presenter.picture is None:
            return
        yield from self.apply(lambda: flow.apply(operation["how"]))

    def do_generate(self, operation):
        """Ask and go on painting: the pictures come while something else is done."""
        if self.with_nijimi:
            contents().settings.set("batch_count", operation["count"])
            contents().settings.set("final_steps", operation["steps"])
            contents().flow.generate()
        yield 5

    def do_cancel_batches(self, operation):
        if self.with_nijimi:
            contents().flow.generator.cancel()
        yield 5

    def do_look_at_result(self, operation):
        """Click a thumbnail, or the one again that is shown."""
        if self.with_nijimi:
            found = contents().flow.generator.results
            results = [None, *(each.id for each in found.entries)]
            found.choose(results[operation["target"] % len(results)])
        yield 5

    def do_apply_result(self, operation):
        results = contents().flow.generator.results.entries if self.with_nijimi else ()
        if not results:
            return
        one = results[operation["target"] % len(results)]
        yield from self.apply(lambda: contents().flow.apply_result(one.id))

    def apply(self, ask):
        ours = len([n for n in nodes_of(self.document) if is_ours(n)])
        before = self.undo_state()[1]
        ask()
        yield from self.wait_for_apply(ours, before)

    def wait_for_apply(self, ours, before=None):
        """The layer is there, active as Krita makes a new one, and one undo step of its own."""
        presenter = contents().flow._presenter
        yield lambda: presenter._to_apply is None
        yield from self.rest()
        now = len([n for n in nodes_of(self.document) if is_ours(n)])
        # One that takes the place of another leaves as many as there were, by two steps.
        replaces = [e for e in contents()._room.journal.entries if e.what.startswith("replace")]
        is_replaced = bool(replaces) and replaces[-1] is not self.replaced
        if now == ours and not is_replaced:
            return
        self.replaced = replaces[-1] if replaces else None
        steps = 2 if is_replaced else 1
        # The history's view follows a moment after the step that it shows.
        if before is not None:
            yield lambda: self.undo_state()[1] == before + steps
        else:
            yield 150
        _, index = self.undo_state()
        at = self.ours_at[self.key()]
        at.difference_update([n for n in at if n > index - steps])
        at.update(range(index - steps + 1, index + 1))
        self.applied += 1


def contents():
    from nijimi_driver.plugin import contents as found

    return found()
