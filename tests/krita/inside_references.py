"""References, looked at from inside Krita by the driver plugin."""

import hashlib

from nijimi_driver.plugin import contents
from PyQt5.QtWidgets import QCheckBox, QPushButton


def picture():
    """What tells one picture from another, or "" where there is none."""
    shown = contents().flow._presenter.picture
    return hashlib.sha256(shown.pixels).hexdigest() if shown is not None else ""


def row_ids():
    return [row.id for row in contents().controls.rows]


def has_thumbnail(row_id):
    """Whether the layer's colour is seen in its row."""
    box = contents().panel.findChild(QCheckBox, f"nijimi_control_{row_id}_on")
    size = box.iconSize()
    image = box.icon().pixmap(size).toImage()
    colours = {image.pixelColor(x, y).name() for x in range(image.width())
               for y in range(image.height())}  # fmt: skip
    return "#f08010" in colours


def show_menu(is_open):
    """That of the button for control layers. A popup blocks nothing."""
    button = contents().panel.findChild(QPushButton, "nijimi_add_control")
    if is_open:
        button.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))
    else:
        button.menu().close()
    yield 300
    return [action.text() for action in button.menu().actions()]
