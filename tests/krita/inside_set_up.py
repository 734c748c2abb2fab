"""The guide, looked at from inside Krita by the driver plugin."""

from nijimi_driver.plugin import contents
from PyQt5.QtWidgets import QLabel, QWidget, QWizard


def _place(widget):
    place = widget.mapToGlobal(widget.rect().center())
    return [place.x(), place.y()]


def set_up_button():
    """Of the docker."""
    yield 100
    button = contents().panel.findChild(QWidget, "nijimi_set_up")
    return _place(button) if button.isVisible() else None


def guide_button(name):
    """Next, Back, Finish or Cancel."""
    yield 100
    button = contents().set_up.guide.button(getattr(QWizard, f"{name}Button"))
    return _place(button) if button.isVisible() and button.isEnabled() else None


def guide_title():
    """Of the page that is shown; nothing where no guide is open."""
    guide = contents().set_up.guide
    return guide.currentPage().title() if guide is not None and guide.isVisible() else ""


def guide_is_complete():
    return bool(contents().set_up.guide.currentPage().isComplete())


def guide_texts():
    """All that the page says."""
    page = contents().set_up.guide.currentPage()
    return [label.text() for label in page.findChildren(QLabel) if label.isVisible()]


def first_picture_px():
    """Width and height of the picture that it made."""
    pixmap = contents().set_up.guide.findChild(QLabel, "nijimi_first_picture").pixmap()
    return [pixmap.width(), pixmap.height()] if pixmap is not None else [0, 0]


def models_are_listed():
    """Whether the backend has told what can be downloaded."""
    return contents().set_up.guide.findChild(QWidget, "nijimi_set_up_fetch").isEnabled()
