"""References, looked at from inside Krita by the driver plugin."""

import hashlib

from nijimi_driver.plugin import contents
from PyQt5.QtWidgets import QPushButton


def picture():
    """What tells one picture from another, or "" where there is none."""
    shown = contents().flow._presenter.picture
    return hashlib.sha256(shown.pixels).hexdigest() if shown is not None else ""


def row_ids():
    return [row.id for row in contents().controls.rows]


def show_menu(is_open):
    """That of the button for control layers. A popup blocks nothing."""
    button = contents().panel.findChild(QPushButton, "nijimi_add_control")
    if is_open:
        button.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))
    else:
        button.menu().close()
    yield 300
    return [action.text() for action in button.menu().actions()]
