"""A document and a node's id enter; the node leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["find_node", "node_thumbnail", "nodes_below"]


def find_node(document: Any, node_id: str) -> Any | None:
    """The layer or mask of that id, wherever it lies; None where it is gone."""
    for node in nodes_below(document.rootNode()):
        if node.uniqueId().toString() == node_id:
            return node
    return None


def node_thumbnail(document: Any, node_id: str, side_px: int) -> Any | None:
    """A QImage of the node, at most ``side_px`` a side; None where it is gone."""
    node = find_node(document, node_id)
    image = node.thumbnail(side_px, side_px) if node is not None else None
    return None if image is None or image.isNull() else image


def nodes_below(parent: Any) -> Iterator[Any]:
    """Every node below this one, the lower first."""
    for node in parent.childNodes():
        yield node
        yield from nodes_below(node)
