"""The painter's wish for a backend enters; an installed one, proven by a picture, leaves.

What it finds out goes to the guide; what the painter chose goes into the configuration.

Signals:
    changed()           the configuration says something else now
    ready(bool, str)    all is done: whether to go live, and the model to paint with, "" for any
    troubled(str, str)  the configuration could not be written: a sentence and what to do
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .link.backend_process import own_sentence
from .link.backend_setup import BackendSetup, backend_source
from .link.program import Program, other_command, part_of
from .link.pythons import PythonSearch, python_commands
from .model.config import change_config, read_config
from .model.set_up_choice import Fetchable, Known, fetchables, own_home
from .qt import QtCore, Signal
from .texts import tr
from .ui.set_up_guide import SetUpGuide

__all__ = ["SetUp"]

_GIB = 1024**3
_NEEDED_BYTES = 4 * _GIB
"""For the processor; the installer itself looks once more, for what it found."""

_WORDS = "a red house on a green hill at sunset, pine trees"


class SetUp(QtCore.QObject):
    """One guide at a time, and the programs that run for it."""

    changed = Signal()
    ready = Signal(bool, str)
    troubled = Signal(str, str)

    def __init__(self, home: Callable[[], Any], parent: Any = None) -> None:
        """``home``: Krita's window."""
        super().__init__(parent)
        self._window = home
        self.guide: Any = None
        self._running: Any = None
        self._search: PythonSearch | None = None
        self._errors: list[str] = []
        self._begun_s = 0.0
        self._folder: Any = None

    def open(self) -> None:
        """Ask, or bring the guide up that asks already."""
        if self.guide is not None:
            self.guide.raise_()
            return
        config = read_config()
        remote = config.remote
        self.guide = guide = SetUpGuide(
            Known(
                backend=config.backend_command[0] if config.backend_command else "",
                can_install=backend_source() is not None,
                home=own_home(),
                remote_url=f"wss://{remote.host}:{remote.port}/nijimi" if remote else "",
                token_file=remote.token_file if remote else "",
                models_folder=config.models_from[0] if config.models_from else "",
                memory_gib=config.model_memory_gib,
                eight_bit=config.eight_bit,
            ),
            self._window(),
        )
        guide.where.look_again.connect(self._look_for_python)
        guide.where.home_changed.connect(self._look_at_room)
        guide.work.begun.connect(self._install)
        guide.picture.begun.connect(self._prove)
        for page in (guide.work, guide.picture):
            page.given_up.connect(self._stop)
        guide.currentIdChanged.connect(self._page_changed)
        guide.finished.connect(self._finished)
        self._look_at_room(own_home())
        self._look_for_python()
        guide.show()

    def end(self) -> None:
        """Krita ends: what runs for us ends, too; the next guide goes on with what has come."""
        self._stop()
        if self._search is not None:
            self._search.stop()
        if self.guide is not None:
            self.guide.blockSignals(True)
            self.guide.close()
            self.guide = None

    # Where ---------------------------------------------------------------------------------

    def _look_at_room(self, home: str) -> None:
        place = Path(home or "/").absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            free = shutil.disk_usage(place).free
        except OSError:
            free = 0
        self.guide.where.show_room(free, _NEEDED_BYTES)

    def _look_for_python(self) -> None:
        if self._search is not None:
            self._search.stop()
        typed = self.guide.where.typed_python
        commands = ((typed,),) if typed else python_commands(sys.platform, str(Path.home()))
        self._search = PythonSearch(commands, self)
        self._search.found.connect(
            lambda path, version: self.guide.where.show_python(typed or path, version)
        )
        self._search.missing.connect(lambda: self.guide.where.show_python("", ""))
        self._search.start()

    # Installing ----------------------------------------------------------------------------

    def _install(self) -> None:
        source = backend_source()
        where, work = self.guide.where, self.guide.work
        if source is None:
            return
        setup = BackendSetup(where.python, source, where.home, where.device, self)
        setup.progressed.connect(work.show_progress)
        setup.failed.connect(work.show_failure)
        setup.installed.connect(self._installed)
        self._run(setup)

    def _installed(self, python: str) -> None:
        command = [python, "-m", "nijimi_backend", "serve", "--device", self.guide.where.device]
        if self._change(backend_command=command, remote=None):
            self.guide.work.show_done(tr("The backend is installed."), python)

    # What to paint with --------------------------------------------------------------------

    def _page_changed(self, _page: int) -> None:
        if self.guide is None or not self.guide.is_at_models:
            return
        said: list[str] = []
        self._errors.clear()
        program = self._program("models", "fetch", "--json")
        program.said.connect(said.append)
        program.ended.connect(lambda _: self._list_came("\n".join(said)))
        self._run(program)

    def _list_came(self, text: str) -> None:
        try:
            entries = json.loads(text)
        except ValueError:
            # Without a list there is nothing to download; the other choices stand.
            entries = []
        self.guide.models.show_models(fetchables(entries))

    # The proof -----------------------------------------------------------------------------

    def _prove(self) -> None:
        """Fetch what is to be fetched, then paint with it."""
        folder = self.guide.models.folder
        before = read_config()
        folders = [folder, *before.models_from[1:]] if folder else list(before.models_from)
        memory, eight_bit = self.guide.models.memory_gib, self.guide.models.eight_bit
        known = (before.models_from, before.model_memory_gib, before.eight_bit)
        if (tuple(folders), memory, eight_bit) != known and not self._change(
            models_from=folders, model_memory_gib=memory, eight_bit=eight_bit
        ):
            return
        wanted: Fetchable | None = self.guide.models.wanted
        self._fetch([*wanted.wants, wanted.name] if wanted is not None else [])

    def _fetch(self, names: list[str]) -> None:
        if not names:
            self._paint()
            return
        name, *rest = names
        title = tr("Downloading {name}", name=name)
        self.guide.picture.show_progress(title, None)
        program = self._program("models", "fetch", name, *read_config().folder_options)
        program.complained.connect(lambda line: self._hear(title, line, 0.8))
        program.ended.connect(
            lambda status: self._fetch(rest) if status == 0 else self._tell_failure()
        )
        self._run(program)

    def _paint(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nijimi-")
        picture = str(Path(self._folder.name) / "picture.png")
        title = tr("Loading the model and painting")
        self.guide.picture.show_progress(title, None)
        self._begun_s = time.monotonic()
        program = self._program(
            "render", "--prompt", _WORDS, "--device", self._device(), "--model", self._model(),
            *read_config().folder_options, "-o", picture,
        )  # fmt: skip
        program.complained.connect(lambda line: self._hear(title, line, 1.0))
        program.ended.connect(lambda status: self._painted(status, picture))
        self._run(program)

    def _painted(self, status: int, picture: str) -> None:
        took = time.monotonic() - self._begun_s
        if status != 0 or not self.guide.picture.show_picture(picture, took):
            self._tell_failure()
        self._folder.cleanup()

    def _model(self) -> str:
        wanted: Fetchable | None = self.guide.models.wanted
        return wanted.name if wanted is not None else ""

    def _device(self) -> str:
        command = read_config().backend_command
        place = command.index("--device") + 1 if "--device" in command else len(command)
        return command[place] if place < len(command) else "auto"

    # Programs ------------------------------------------------------------------------------

    def _program(self, *words: str) -> Program:
        command = other_command(read_config().backend_command, *words)
        return Program(command, self, {"NIJIMI_PROGRESS": "lines"})

    def _run(self, program: Any) -> None:
        self._stop()
        self._errors.clear()
        self._running = program
        program.start()

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()
            running.deleteLater()

    def _hear(self, title: str, line: str, most: float) -> None:
        part = part_of(line)
        if part is None:
            self._errors.append(line)
            return
        done, whole = part
        detail = f"{done / 1e6:.0f} / {whole / 1e6:.0f} MB" if whole > 1e6 else ""
        self.guide.picture.show_progress(title, most * min(1.0, done / whole), detail)

    def _tell_failure(self) -> None:
        """The backend's own sentence, or the last that it said."""
        last = own_sentence(self._errors) or (self._errors or [""])[-1]
        self.guide.picture.show_failure(
            tr("That did not work."), last or tr("The backend's doctor knows more: see Report.")
        )

    # The end -------------------------------------------------------------------------------

    def _change(self, **values: Any) -> bool:
        try:
            change_config(**values)
        except OSError as error:
            sentence = tr("Nijimi's configuration could not be written.")
            if self.guide is not None:
                self.guide.currentPage().show_failure(sentence, str(error))
            self.troubled.emit(sentence, str(error))
            return False
        self.changed.emit()
        return True

    def _finished(self, result: int) -> None:
        """``result``: 0 for Cancel; what was installed until then stays."""
        guide, self.guide = self.guide, None
        self._stop()
        if self._search is not None:
            self._search.stop()
        guide.deleteLater()
        if not result:
            return
        if guide.where.choice == "there":
            self._use_remote(*guide.where.remote)
            return
        wanted: Fetchable | None = guide.models.wanted
        if read_config().remote is None or self._change(remote=None):
            self.ready.emit(guide.picture.live.isChecked(), wanted.name if wanted else "")

    def _use_remote(self, url: str, token_file: str) -> None:
        before = read_config().remote
        vouches = before.ca_file if before is not None else ""
        if self._change(remote={"url": url, "token_file": token_file, "ca_file": vouches}):
            self.ready.emit(True, "")
