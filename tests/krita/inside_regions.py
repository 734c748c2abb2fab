"""Regions, looked at from inside Krita by the driver plugin."""

from nijimi_driver.plugin import contents

try:
    from PyQt5.QtWidgets import QMenu, QPushButton
except ImportError:
    from PyQt6.QtWidgets import QMenu, QPushButton


def choose_from_menu(text):
    """An entry of the menu for control layers, as a click on it does."""
    button = contents().panel.findChild(QPushButton, "nijimi_add_control")
    for action in button.menu().actions():
        if action.text() == text:
            action.trigger()
            yield 200
            return [row.kind for row in contents().controls.rows]
    raise AssertionError(f"there is no entry {text!r}")


def prompts():
    return [row.prompt for row in contents().controls.rows]


def open_row_menu(row_id):
    """That of a row; a popup blocks nothing."""
    button = contents().panel.findChild(object, f"nijimi_control_{row_id}_more")
    button.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))
    yield 300
    places = next(
        menu for menu in button.menu().findChildren(QMenu) if menu.title() == "Where it counts"
    )
    places.aboutToShow.emit()
    texts = [action.text() for action in places.actions()]
    button.menu().close()
    return texts


def sent_coverage(row_id):
    """How many pixels of the region's layer were found covered, by what was last seen of it."""
    _node_id, scan = contents().flow.controls._sender._scans[row_id]
    return sum(sum(1 for value in seen if value) for seen in scan._seen.values())
