"""Steps that use our plugin as a painter does; each runs inside Krita, called by the driver."""

from krita import Krita
from nijimi_driver.plugin import contents

try:
    from PyQt5.QtWidgets import QDockWidget, QWidget
except ImportError:
    from PyQt6.QtWidgets import QDockWidget, QWidget


def show_docker():
    """Bring the docker up, wide enough to look at."""
    panel = contents().panel
    docker = panel.parent()
    while not isinstance(docker, QDockWidget):
        docker = docker.parent()
    docker.show()
    docker.raise_()
    # Room for the preview: the presets and the colour selector are not needed here.
    for other in Krita.instance().dockers():
        if other.objectName() in ("PresetDocker", "ColorSelectorNg", "sharedtooldocker"):
            other.hide()
    yield 300
    return {"width": panel.width(), "height": panel.height()}


def set_values(**values):
    """Set the docker's values by name, e.g. prompt, strength, live."""
    settings = contents().settings
    for name, value in values.items():
        settings.set(name, value)
    return True


def wait_until_ready():
    """Until the backend has its model."""
    state = contents().live_state
    yield lambda: state.state in ("ready", "waiting") or state.problem
    return {"state": state.state, "problem": state.problem, "device": state.device}


def wait_until_shown():
    """Until the newest change is what the picture shows; and how long a while nothing is new."""
    flow = contents().flow
    yield 250
    yield lambda: flow.shows_newest
    return flow.metrics_report()


def reset_metrics():
    contents().flow.metrics.reset()
    return True


def metrics():
    return contents().flow.metrics_report()


def press_apply():
    """Click Apply, and wait until the layer is there."""
    document = Krita.instance().activeDocument()
    before = len(document.rootNode().childNodes())
    button = contents().panel.findChild(QWidget, "nijimi_apply")
    button.click()
    yield lambda: len(document.rootNode().childNodes()) > before
    yield 200
    return [node.name() for node in document.rootNode().childNodes()]


def status_line():
    return contents().live_state.line()


def backend_pid():
    return contents().connection.backend_pid


def preview_is_shown():
    preview = contents().panel.findChild(QWidget, "nijimi_preview")
    image = preview.image()
    return [image.width(), image.height()] if image is not None else []
