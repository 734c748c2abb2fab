"""An OpenPose file enters; the picture that follows it in the docker leaves. Runs inside Krita."""

from nijimi_driver.plugin import contents

try:
    from PyQt5.QtWidgets import QWidget
except ImportError:
    from PyQt6.QtWidgets import QWidget


def add_pose(path):
    """A pose layer of everybody in the file, as when it is dropped on the docker."""
    contents().flow.controls.add_file(path)
    yield lambda: contents().controls.rows
    yield 100
    return [row.kind for row in contents().controls.rows]


def save_picture(path):
    """What the preview shows, as PNG."""
    image = contents().panel.findChild(QWidget, "nijimi_preview").image()
    if image is None or not image.save(path, "PNG"):
        raise OSError(f"{path} could not be written")
    return [image.width(), image.height()]
