"""Krita and a maker of docker contents enter; a docker in every window of Krita leaves."""

# The Krita seam: Krita's module has no types, and exists inside Krita only.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Extension, Krita

from ..qt import QtCore, QtWidgets
from ..texts import tr
from . import document as documents
from .capture import Capture
from .flattening import layer_reader
from .frames import add_animation, frame_span, open_frames
from .journal import Journal
from .kept_pictures import keep_picture, kept_pictures
from .layers import PreviewLayer, apply_picture
from .mask_layers import active_node, node_bounds, node_mask
from .masked_layer import apply_masked
from .nodes import node_thumbnail
from .overlay import Overlay
from .pose_layer import (
    add_people,
    mirror_shapes,
    read_people,
    select_person,
    take_shape_tool,
)
from .pose_shapes import PRESETS, preset_person
from .replaced_layer import PairedSteps, replace_picture
from .room import CanvasRoom
from .selection import selection_mask
from .watcher import CanvasWatcher

__all__ = ["DOCKER_ID", "PREVIEW_ID", "register"]

DOCKER_ID = "nijimi_docker"
PREVIEW_ID = "nijimi_preview_docker"

Contents = Callable[[CanvasRoom], Any]
"""Makes a docker's contents: an object with ``widget``, ``preview``, ``home``, ``begin``, ``act``
and ``end``."""

MENU = "nijimi"


def register(make: Contents, actions: Sequence[tuple[str, str, str]]) -> None:
    """Add the docker, which Krita shows on the right at its first start, and the actions.

    ``actions``: name, title and tip of each; they are in the menu Tools, Nijimi, and in the
    shortcut editor.
    """
    app: Any = Krita.instance()
    alive: list[Any] = []

    class Docker(DockWidget):
        """What Krita makes, once a window."""

        def __init__(self) -> None:
            super().__init__()
            self.setWindowTitle("Nijimi")
            self._contents = make(_room())
            self.setWidget(self._contents.widget)
            alive.append(self._contents)
            # Krita is still building its window: begin when its event loop runs.
            QtCore.QTimer.singleShot(0, self._contents.begin)

        def canvasChanged(self, canvas: Any) -> None:
            """Krita asks for this method; the watcher sees by itself which view is in front."""

    class PreviewDocker(DockWidget):
        """The picture in a docker of its own, which can be a window of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.setWindowTitle(tr("Nijimi preview"))
            # Which window it is in is known when Krita has built that.
            QtCore.QTimer.singleShot(0, self._take_view)

        def _take_view(self) -> None:
            contents = of_window(self.parentWidget())
            if contents is not None:
                self.setWidget(contents.preview)
                contents.preview_docker = self

        def canvasChanged(self, canvas: Any) -> None:
            """Krita asks for this method."""

    class Actions(Extension):
        """Krita asks it for the actions of every window."""

        def setup(self) -> None:
            """Nothing to prepare; Krita asks for this method."""

        def createActions(self, window: Any) -> None:
            whole = window.createAction(MENU, "Nijimi", "tools")
            menu = QtWidgets.QMenu(MENU, window.qwindow())
            whole.setMenu(menu)
            for name, title, tip in actions:
                action = window.createAction(name, tr(title), f"tools/{MENU}")
                action.setToolTip(tr(tip))
                action.triggered.connect(lambda _=False, name=name: act(name))

    def of_window(window: Any) -> Any | None:
        for contents in alive:
            if len(alive) == 1 or contents.home() is window:
                return contents
        return None

    def act(name: str) -> None:
        """The docker of the window in front does it."""
        contents = of_window(documents.main_window())
        if contents is not None:
            contents.act(name)

    def end_all() -> None:
        while alive:
            alive.pop().end()

    places = getattr(DockWidgetFactoryBase, "DockPosition", DockWidgetFactoryBase)
    app.addExtension(Actions(app))
    app.addDockWidgetFactory(DockWidgetFactory(DOCKER_ID, places.DockRight, Docker))
    # Not seen until it is asked for: with both, a small screen's window would overflow.
    app.addDockWidgetFactory(DockWidgetFactory(PREVIEW_ID, places.DockMinimized, PreviewDocker))
    application = QtCore.QCoreApplication.instance()
    if application is not None:
        application.aboutToQuit.connect(end_all)


def _room() -> CanvasRoom:
    journal, steps = Journal(), PairedSteps(Krita.instance())
    return CanvasRoom(
        watcher=CanvasWatcher(),
        capture=Capture(),
        overlay=Overlay(),
        active_document=documents.active_document,
        document_id=documents.document_id,
        document_extent=documents.document_extent,
        is_open=documents.is_open,
        is_at_rest=documents.is_at_rest,
        colour_problem=documents.colour_problem,
        selection_mask=selection_mask,
        active_node=active_node,
        node_mask=node_mask,
        node_bounds=node_bounds,
        node_thumbnail=node_thumbnail,
        layer_reader=layer_reader,
        read_people=read_people,
        pose_presets=tuple(PRESETS),
        preset_person=preset_person,
        add_people=partial(add_people, journal),
        take_shape_tool=take_shape_tool,
        select_person=select_person,
        mirror_shapes=mirror_shapes,
        read_note=documents.read_note,
        write_note=partial(documents.write_note, journal),
        kept_pictures=kept_pictures,
        keep_picture=partial(keep_picture, journal),
        apply_picture=partial(apply_picture, journal),
        apply_masked=partial(apply_masked, journal, Krita.instance()),
        replace_picture=partial(replace_picture, journal, steps),
        paired_steps=steps,
        open_picture=documents.open_picture,
        frame_span=frame_span,
        open_frames=open_frames,
        add_animation=partial(add_animation, journal),
        krita_version=lambda: str(Krita.instance().version()),
        preview_layer=partial(PreviewLayer, journal),
        canvas_image=documents.canvas_image,
        icon=documents.icon,
        journal=journal,
    )
