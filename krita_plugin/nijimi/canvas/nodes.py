"""A document and a node's id enter; the node leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["find_node", "nodes_below"]


def find_node(document: Any, node_id: str) -> Any | None:
    """The layer or mask of that id, wherever it lies; None where it is gone."""
    for node in nodes_below(document.rootNode()):
        if node.uniqueId().toString() == node_id:
            return node
    return None


def nodes_below(parent: Any) -> Iterator[Any]:
    """Every node below this one, the lower first."""
    for node in parent.childNodes():
        yield node
        yield from nodes_below(node)
