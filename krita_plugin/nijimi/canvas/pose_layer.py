"""A vector layer enters; the people in it leave, and their limbs follow the joints.

Painters move joints with Krita's own shape tool, live and with its undo; limbs are placed by us
at every look, which adds no undo step and disturbs no drag.
"""

from __future__ import annotations

from typing import Any

from nijimi_protocol.geometry import Extent
from nijimi_protocol.pose import LIMBS, Person

from ..qt import QtCore, QtGui
from .document import document_extent, document_id, trigger_action
from .journal import Journal
from .nodes import find_node
from .pose_shapes import (
    LIMB_HEIGHT_PX,
    LIMB_LENGTH_PX,
    NEAR_PX,
    Figure,
    NamedShape,
    Shift,
    figures_of,
    figures_svg,
    hung,
    joint_radius,
    limb_angle,
    people_of,
)
from .room import ChosenNode

__all__ = ["add_people", "mirror_shapes", "read_people", "select_person", "take_shape_tool"]

LAYER_NAME = "Pose"


def read_people(document: Any, node_id: str) -> tuple[Person, ...] | None:
    """Who is in the layer, in canvas pixels; None where the layer is gone or holds no shapes.

    On the way copied people get a name and limbs of their own, and limbs follow their joints.
    """
    layer = find_node(document, node_id)
    if layer is None or layer.type() != "vectorlayer":
        return None
    unit = 72.0 / document.resolution()
    figures = figures_of(_named(layer.shapes(), unit))
    if any(len(figure.limbs) < len(LIMBS) for figure in figures) and _is_ours(figures):
        figures = _completed(document, layer, figures, unit)
    hanging: list[Figure] = []
    for figure in figures:
        _place_limbs(figure, unit, joint_radius(document_extent(document)))
        figure, shifts = hung(figure)
        for shift in shifts:
            _move(shift, unit)
        hanging.append(figure)
    return people_of(hanging)


def add_people(
    journal: Journal, document: Any, people: tuple[Person, ...], node_id: str | None = None
) -> ChosenNode:
    """Put people into a pose layer, or into a new one: one undo step."""
    canvas = document_extent(document)
    layer = find_node(document, node_id) if node_id else None
    with journal.change(document_id(document), "add people to the pose") as change:
        if layer is not None and layer.type() == "vectorlayer":
            unit = 72.0 / document.resolution()
            first = 1 + max(
                (int(shape.name[1:].split("_")[0]) for figure in
                 figures_of(_named(layer.shapes(), unit)) for shape in figure.joints.values()),
                default=-1,
            )  # fmt: skip
            change.undo_by(lambda: _remove_people(layer, range(first, first + len(people))))
            layer.addShapesFromSvg(figures_svg(people, first, canvas))
        else:
            layer = document.createVectorLayer(LAYER_NAME)
            # Filled first and then added: one step, and undo takes it away whole.
            layer.addShapesFromSvg(figures_svg(people, 0, canvas))
            if not document.rootNode().addChildNode(layer, None):
                raise RuntimeError("Krita did not take the pose layer")
            change.undo_by(layer.remove)
        chosen = ChosenNode(layer.uniqueId().toString(), layer.name())
        read_people(document, chosen.id)
    return chosen


def take_shape_tool(document: Any, node_id: str) -> None:
    """Krita's own tool for shapes, on that layer. It is ready a moment later."""
    layer = find_node(document, node_id)
    if layer is not None:
        document.setActiveNode(layer)
        trigger_action("InteractionTool")


def mirror_shapes() -> None:
    """What is selected with Krita's tool, in place: one step of its undo."""
    trigger_action("object_transform_mirror_horizontally")


def select_person(document: Any, node_id: str) -> bool:
    """Select all joints of somebody for Krita's own tool: of whom a joint is selected, else of the
    first. Where all of somebody is selected already it is the next one's turn. False for nobody.
    """
    layer = find_node(document, node_id)
    if layer is None or layer.type() != "vectorlayer":
        return False
    figures = figures_of(_named(layer.shapes(), 72.0 / document.resolution()))
    if not figures:
        return False
    chosen = [[each.shape.isSelected() for each in figure.everything] for figure in figures]
    begun = next((n for n, each in enumerate(chosen) if any(each)), 0)
    if chosen[begun] and all(chosen[begun]):
        begun = (begun + 1) % len(figures)
    for n, figure in enumerate(figures):
        for each in figure.everything:
            (each.shape.select if n == begun else each.shape.deselect)()
    return True


def _remove_people(layer: Any, numbers: range) -> None:
    theirs = tuple(f"P{number:02}_" for number in numbers)
    for shape in layer.shapes():
        if shape.name().startswith(theirs):
            shape.remove()


def _named(shapes: Any, unit: float) -> list[NamedShape]:
    """Shapes in canvas pixels: Krita's are in points."""
    found: list[NamedShape] = []
    for shape in shapes:
        box = shape.boundingBox()
        x, y = box.x() + box.width() / 2, box.y() + box.height() / 2
        is_mirrored = shape.transformation().determinant() < 0.0
        found.append(
            NamedShape(shape.name(), x / unit, y / unit, shape.visible(), shape, is_mirrored)
        )
    return found


def _is_ours(figures: list[Figure]) -> bool:
    """Whether limbs are ours to keep: the layers of other plugins have bones of their own."""
    return any(figure.limbs for figure in figures)


def _completed(document: Any, layer: Any, figures: list[Figure], unit: float) -> list[Figure]:
    """Everybody with a number and limbs of their own."""
    canvas: Extent = document_extent(document)
    for n, figure in enumerate(figures):
        for kind, shapes in figure.parts.items():
            for number, named in shapes.items():
                named.shape.setName(f"P{n:02}_{kind}{number:02}")
        if not figure.limbs:
            layer.addShapesFromSvg(figures_svg((figure.person,), n, canvas, limbs_only=True))
    return figures_of(_named(layer.shapes(), unit))


def _place_limbs(figure: Figure, unit: float, thickness: float) -> None:
    for number, limb in figure.limbs.items():
        start, end = (figure.joints.get(joint) for joint in LIMBS[number])
        shown = bool(start and end and start.is_visible and end.is_visible)
        if limb.is_visible != shown:
            limb.shape.setVisible(shown)
        if limb.shape.selectable():
            limb.shape.setSelectable(False)
        if not shown or start is None or end is None:
            continue
        middle = (start.x + end.x) / 2, (start.y + end.y) / 2
        angle, length = limb_angle((start.x, start.y), (end.x, end.y))
        is_placed = abs(limb.x - middle[0]) < NEAR_PX and abs(limb.y - middle[1]) < NEAR_PX
        matrix = limb.shape.transformation()
        stretched = (matrix.m11() ** 2 + matrix.m12() ** 2) ** 0.5
        if is_placed and abs(stretched * LIMB_LENGTH_PX / unit - length) < NEAR_PX:
            continue
        old = limb.shape.boundingBox()
        limb.shape.setTransformation(_matrix(start, angle, length, thickness, unit))
        # Krita repaints neither the old place nor the new one by itself.
        limb.shape.updateAbsolute(old)
        limb.shape.update()


def _move(shift: Shift, unit: float) -> None:
    for named in shift.shapes:
        shape = named.shape
        old, place = shape.boundingBox(), shape.position()
        shape.setPosition(QtCore.QPointF(place.x() + shift.dx * unit, place.y() + shift.dy * unit))
        shape.updateAbsolute(old)
        shape.update()


def _matrix(start: NamedShape, angle: float, length: float, thickness: float, unit: float) -> Any:
    """From a limb as it was drawn, in pixels, to its place between two joints, in points."""
    matrix = QtGui.QTransform()
    matrix.translate(start.x * unit, start.y * unit)
    matrix.rotate(angle)
    matrix.scale(unit * length / LIMB_LENGTH_PX, unit * thickness / LIMB_HEIGHT_PX)
    matrix.translate(0.0, -LIMB_HEIGHT_PX / 2)
    return matrix
