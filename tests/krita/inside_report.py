"""The report's page, looked at from inside Krita by the driver plugin."""

from nijimi_driver.plugin import contents
from PyQt5.QtWidgets import QApplication, QPlainTextEdit, QWidget


def report_text():
    """What it says; nothing where it is closed."""
    page = contents().report
    if page is None or not page.isVisible():
        return ""
    return page.findChild(QPlainTextEdit, "nijimi_report_text").toPlainText()


def report_button(name):
    button = contents().report.findChild(QWidget, name)
    yield 100
    place = button.mapToGlobal(button.rect().center())
    return [place.x(), place.y()]


def clipboard_text():
    return QApplication.clipboard().text()
