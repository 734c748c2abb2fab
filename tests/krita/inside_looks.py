"""How the docker looks, told from inside Krita by the driver plugin."""

from krita import Krita
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtGui import QPalette
    from PyQt5.QtWidgets import QApplication, QDockWidget, QLabel, QPushButton, QWidget
except ImportError:
    from PyQt6.QtGui import QPalette
    from PyQt6.QtWidgets import QApplication, QDockWidget, QLabel, QPushButton, QWidget


def cut_texts(of_guide=False):
    """Texts of buttons and labels that are wider than what shows them."""
    shown = contents().set_up.guide if of_guide else contents().panel
    return [
        widget.text()
        for widget in shown.findChildren(QWidget)
        if isinstance(widget, (QPushButton, QLabel))
        and widget.isVisible()
        and widget.text()
        and not (isinstance(widget, QLabel) and widget.wordWrap())
        # What marks a key is not shown as a letter.
        and widget.width() < widget.fontMetrics().horizontalAdvance(widget.text().replace("&", ""))
    ]


def guide_title():
    """Of the set-up's page in front; "" while there is none."""
    guide = contents().set_up.guide
    return guide.currentPage().title() if guide is not None and guide.isVisible() else ""


def close_guide():
    contents().set_up.guide.reject()
    yield 100
    return contents().set_up.guide is None


def button_texts():
    return [
        widget.text() for widget in contents().panel.findChildren(QPushButton) if widget.isVisible()
    ]


def palette():
    """Lightness, from 0 to 255, of the docker's background and of the text on it."""
    colours = contents().panel.palette()
    return [
        colours.color(QPalette.Window).lightness(),
        colours.color(QPalette.WindowText).lightness(),
    ]


def icon_lightness(name):
    """How light a button's icon is where it is opaque, on the average."""
    button = contents().panel.findChild(QWidget, name)
    image = button.icon().pixmap(button.iconSize()).toImage()
    values = [
        image.pixelColor(x, y).lightness()
        for x in range(image.width())
        for y in range(image.height())
        if image.pixelColor(x, y).alpha() > 200
    ]
    return sum(values) / len(values) if values else -1


def scale():
    return contents().panel.devicePixelRatioF()


def preview_pixels():
    """How many device pixels a side the preview has to show its picture with."""
    preview = contents().panel.findChild(QWidget, "nijimi_preview")
    return [
        round(side * preview.devicePixelRatioF()) for side in (preview.width(), preview.height())
    ]


def docker_is_in_front():
    """Seen at the first look, not behind another docker's tab, and wholly on the screen."""
    widget = contents().widget
    while not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    corner = widget.mapToGlobal(widget.rect().bottomRight())
    screen = QApplication.primaryScreen().geometry()
    return widget.isVisible() and not widget.visibleRegion().isEmpty() and screen.contains(corner)


def centre(name):
    """Where a widget of the docker is, in logical pixels of the screen."""
    widget = contents().panel.findChild(QWidget, name)
    contents().widget.ensureWidgetVisible(widget)
    yield 150
    place = widget.mapToGlobal(widget.rect().center())
    return [place.x(), place.y()]


def documents():
    return len(Krita.instance().documents())


def dialog():
    """The class of the dialog that stands open, or nothing."""
    modal = QApplication.activeModalWidget()
    return modal.metaObject().className() if modal is not None else ""
