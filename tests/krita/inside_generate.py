"""Generating, looked at from inside Krita by the driver plugin."""

from krita import Krita
from nijimi.canvas.document import canvas_widget
from nijimi_driver.plugin import contents
from PyQt5.QtWidgets import QApplication, QWidget


def centre(name):
    """Where a widget of the docker is on the screen, scrolled to."""
    widget = contents().panel.findChild(QWidget, name)
    if widget is not None:
        contents().widget.ensureWidgetVisible(widget)
    else:
        widget = contents().preview.findChild(QWidget, name)
    yield 150
    place = widget.mapToGlobal(widget.rect().center())
    return [place.x(), place.y()]


def thumbnail(number):
    """Where one of the thumbnails is on the screen, the newest being 0."""
    strip = contents().panel.results_strip
    contents().widget.ensureWidgetVisible(strip)
    yield 150
    place = strip.viewport().mapToGlobal(strip.visualItemRect(strip.item(number)).center())
    return [place.x(), place.y()]


def canvas_has_focus():
    yield 100
    return canvas_widget().hasFocus()


def results():
    """Seed, size, and whether it is of a selection, for each result of the document in front."""
    return [
        [entry.params.seed, list(entry.picture.extent), entry.picture.selected is not None]
        for entry in contents().flow.generator.results.entries
    ]


def chosen():
    picture = contents().flow.generator.results.chosen
    return picture.params.seed if picture is not None else None


def is_idle():
    queue = contents().flow.generator.queue
    return not queue.entries and not queue.is_preparing


def progress():
    bar = contents().panel.findChild(QWidget, "nijimi_progress")
    return [bar.isVisible(), bar.text()]


def look_is_seen():
    return contents().panel.findChild(QWidget, "nijimi_look").isVisible()


def clear_results():
    contents().flow.generator.results.clear()
    return True


def overlay_is_shown():
    window = Krita.instance().activeWindow().qwindow()
    return any(
        sheet.isVisible() and sheet.image is not None
        for sheet in window.findChildren(QWidget, "nijimi_overlay")
    )


def focus():
    widget = QApplication.focusWidget()
    return widget.objectName() if widget is not None else ""


def alpha_outside(layer, x, y, width, height):
    """The most opaque pixel of a layer beside a rectangle."""
    document = Krita.instance().activeDocument()
    node = document.nodeByName(layer)
    data = bytes(node.projectionPixelData(0, 0, document.width(), document.height()))[3::4]
    most = 0
    for row in range(document.height()):
        line = data[row * document.width() : (row + 1) * document.width()]
        if y <= row < y + height:
            line = line[:x] + line[x + width :]
        most = max(most, max(line))
    return most


def kept():
    from nijimi.canvas.kept_pictures import kept_pictures

    return sorted(kept_pictures(Krita.instance().activeDocument()))


def forget_results():
    """As if Krita had been started anew: only the file knows of them."""
    generator = contents().flow.generator
    generator.results._all.clear()
    generator.results.changed.emit()
    generator._keeper._documents.clear()
    return True


def preview_shows():
    """The size of the picture in the preview's view, or [] for none."""
    picture = contents().preview.view._picture
    return list(picture.extent) if picture is not None else []


def float_preview():
    docker = contents().preview_docker
    docker.setFloating(True)
    docker.setGeometry(120, 150, 520, 560)
    docker.show()
    yield 500
    return True


def view_point(part):
    """A point of the preview's view on the screen, by its part of the width."""
    view = contents().preview.view
    place = view.mapToGlobal(view.rect().center())
    return [place.x() + (part - 0.5) * view.width(), place.y()]


def view_colour(part):
    view = contents().preview.view
    return view.grab().toImage().pixelColor(int(part * view.width()), view.height() // 2).name()


def close_preview():
    docker = contents().preview_docker
    docker.setFloating(False)
    docker.hide()
    return True


def open_result(number):
    """By the thumbnail's menu."""
    strip = contents().panel.results_strip
    result = contents().flow.generator.results.entries[number]
    actions = {action.text(): action for action in strip.menu_for(result).actions()}
    actions["Open as a new document"].trigger()
    yield 400
    return True


def front_document():
    document = Krita.instance().activeDocument()
    return [document.width(), document.height(), document.name()]


def documents():
    return len(Krita.instance().documents())


def distinct_pixels():
    """How many different ones the front document's projection has."""
    document = Krita.instance().activeDocument()
    data = bytes(document.pixelData(0, 0, document.width(), document.height()))
    return len({data[n : n + 4] for n in range(0, len(data), 4)})


def close_front():
    document = Krita.instance().activeDocument()
    document.setModified(False)
    document.close()
    yield 400
    return True
