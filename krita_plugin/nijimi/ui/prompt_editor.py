"""A prompt enters; an editor for it leaves, with colours, weights by key and completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.prompt_text import Completion, adjust_weight, complete, started_word
from ..qt import QtCore, QtGui, QtWidgets, Signal
from ..texts import tr

__all__ = ["PromptEditor"]

Words = Callable[[], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]
"""LoRAs, embeddings and tags that there are now."""

_TYPING_PAUSE_MS = 150

_PATTERNS = (
    (r"<[^<>\n]*>", "link"),
    (r"\\.", "plain"),
    (r"[()\[\]{}|]", "weight"),
    (r":-?\d+(\.\d+)?(?=\))", "weight"),
    (r"__[^\s_][^\s]*?__", "link"),
    (r"\bBREAK\b", "weight"),
    (r"#.*$", "comment"),
)


class _Colours(QtGui.QSyntaxHighlighter):
    """Colours of the palette that is in use: they fit light themes and dark ones."""

    def __init__(self, field: Any) -> None:
        super().__init__(field.document())
        self._field = field
        self._rules = [(QtCore.QRegularExpression(pattern), kind) for pattern, kind in _PATTERNS]

    def highlightBlock(self, text: str) -> None:
        palette, roles = self._field.palette(), QtGui.QPalette.ColorRole
        for rule, kind in self._rules:
            matches = rule.globalMatch(text)
            while matches.hasNext():
                match = matches.next()
                format = QtGui.QTextCharFormat()
                if kind == "link":
                    format.setForeground(palette.color(roles.Highlight).lighter(150))
                elif kind == "weight":
                    format.setForeground(palette.color(roles.Highlight).lighter(130))
                    format.setFontWeight(QtGui.QFont.Weight.Bold)
                elif kind == "comment":
                    format.setForeground(palette.color(roles.Mid))
                    format.setFontItalic(True)
                self.setFormat(match.capturedStart(), match.capturedLength(), format)


class PromptEditor(QtWidgets.QPlainTextEdit):
    """Ctrl+Up and Ctrl+Down weigh words; what was begun is completed by Tab or Return."""

    rested = Signal(str)
    """The text, a moment after its last change."""

    def __init__(self, text: str, words: Words) -> None:
        super().__init__(text)
        self._words = words
        # A method of its own, not a function that outlives the widget: Qt drops it with the widget.
        self._pause = QtCore.QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_TYPING_PAUSE_MS)
        self._pause.timeout.connect(self._rest)
        self.textChanged.connect(self._pause.start)
        self._colours = _Colours(self)
        self._found: list[Completion] = []
        self.history: Callable[[], list[str]] = list
        """Prompts that were used before, the newest first: Alt+Up goes back through them."""
        self._back = -1
        self._own = ""
        self._popup = QtWidgets.QListWidget(self)
        self._popup.setObjectName("nijimi_completions")
        self._popup.setWindowFlags(QtCore.Qt.WindowType.ToolTip)
        # The keys stay with the prompt: the painter goes on typing.
        self._popup.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self._popup.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._popup.itemClicked.connect(lambda _item: self._take())
        self.setTabChangesFocus(True)
        self.setToolTip(
            tr(
                "Ctrl+Up and Ctrl+Down weigh what is selected, Alt+Up brings back what you used "
                "before; < lists your LoRAs."
            )
        )

    def _rest(self) -> None:
        self.rested.emit(self.toPlainText())

    @property
    def completions(self) -> list[Completion]:
        """What is offered now."""
        return self._found if self._popup.isVisible() else []

    def event(self, event: Any) -> bool:
        if event.type() == QtCore.QEvent.Type.ShortcutOverride and _is_weighing(event):
            # Whatever Krita has these keys for: in the prompt they weigh words.
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: Any) -> None:
        keys = QtCore.Qt.Key
        key = event.key()
        if self._popup.isVisible() and self._steer(key):
            return
        if _is_with(event, QtCore.Qt.KeyboardModifier.AltModifier):
            self.go_back(1 if key == keys.Key_Up else -1)
            return
        if _is_weighing(event):
            self.weigh(1 if key == keys.Key_Up else -1)
            return
        self._back = -1
        super().keyPressEvent(event)
        if event.text() and event.text().isprintable():
            self._offer()
        elif key in (keys.Key_Backspace, keys.Key_Delete):
            self._popup.hide()

    def focusOutEvent(self, event: Any) -> None:
        self._popup.hide()
        super().focusOutEvent(event)

    def go_back(self, steps: int) -> None:
        """To a prompt that was used before; and at last to what was being written."""
        if self._back < 0:
            self._own = self.toPlainText()
        there = [self._own, *(each for each in self.history() if each != self._own.strip())]
        self._back = min(len(there) - 1, max(0, max(self._back, 0) + steps))
        cursor = self.textCursor()
        cursor.select(QtGui.QTextCursor.SelectionType.Document)
        cursor.insertText(there[self._back])

    def weigh(self, steps: int) -> None:
        """One step of undo, and what was weighed stays selected."""
        cursor = self.textCursor()
        edit = adjust_weight(
            self.toPlainText(), cursor.selectionStart(), cursor.selectionEnd(), steps
        )
        cursor.select(QtGui.QTextCursor.SelectionType.Document)
        cursor.insertText(edit.text)
        cursor.setPosition(edit.start)
        cursor.setPosition(edit.end, QtGui.QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)

    def _steer(self, key: int) -> bool:
        """Whether the key was for the list of completions."""
        keys = QtCore.Qt.Key
        if key in (keys.Key_Up, keys.Key_Down):
            row = self._popup.currentRow() + (1 if key == keys.Key_Down else -1)
            self._popup.setCurrentRow(row % self._popup.count())
        elif key in (keys.Key_Tab, keys.Key_Return, keys.Key_Enter):
            self._take()
        elif key == keys.Key_Escape:
            self._popup.hide()
        else:
            return False
        return True

    def _offer(self) -> None:
        _start, begun = started_word(self.toPlainText(), self.textCursor().position())
        self._found = complete(begun, *self._words()) if begun else []
        self._popup.clear()
        if not self._found:
            self._popup.hide()
            return
        self._popup.addItems([each.title for each in self._found])
        self._popup.setCurrentRow(0)
        rows = min(8, self._popup.count())
        self._popup.setFixedSize(self.width(), rows * self._popup.sizeHintForRow(0) + 4)
        # As wide as the prompt and below its line: beside the cursor it would leave the screen.
        self._popup.move(self.mapToGlobal(QtCore.QPoint(0, self.cursorRect().bottom() + 4)))
        self._popup.show()

    def _take(self) -> None:
        """Put the chosen completion in place of what was begun."""
        chosen = self._found[self._popup.currentRow()]
        self._popup.hide()
        cursor = self.textCursor()
        start, begun = started_word(self.toPlainText(), cursor.position())
        cursor.setPosition(start)
        cursor.setPosition(start + len(begun), QtGui.QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(chosen.text)
        self.setTextCursor(cursor)


def _is_weighing(event: Any) -> bool:
    return _is_with(event, QtCore.Qt.KeyboardModifier.ControlModifier)


def _is_with(event: Any, modifier: Any) -> bool:
    """Up or Down with that key held."""
    keys = QtCore.Qt.Key
    return bool(event.modifiers() & modifier) and event.key() in (keys.Key_Up, keys.Key_Down)
