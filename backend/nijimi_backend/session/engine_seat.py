"""A model's name enters; the engine that paints with it takes its seat, or the one before stays.

Everything here happens on the worker's thread. While a file is read, the engine before is handed
out between its tensors, so that it can paint on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from nijimi_protocol.messages import ErrorReport, Progress, Status

from ..errors import NijimiError
from .jobs import EngineLike, EngineOpener, Told
from .meanwhile import Meanwhile
from .refusals import Refusals

__all__ = ["EngineSeat"]

log = logging.getLogger(__name__)


class EngineSeat:
    """The one engine there is; ``refusals`` remembers the models that would not load."""

    def __init__(
        self,
        open_engine: EngineOpener,
        wanted: str,
        tell: Callable[[Told], None],
        say: Callable[[Status], None],
        between: Callable[[EngineLike], bool],
    ) -> None:
        """``tell`` and ``say`` reach every client; ``between`` may paint with the engine before,
        and says whether it wants to be asked again."""
        self.engine: EngineLike | None = None
        self.wanted = wanted
        self.refusals = Refusals()
        self._open_engine = open_engine
        self._tell, self._say, self._between = tell, say, between
        self._meanwhile = Meanwhile(began_s=0.0)

    def load(self, name: str) -> bool:
        """Load a model; on failure the old one stays, and every client hears why."""
        title = name or "the default model"
        self._meanwhile = Meanwhile(began_s=time.monotonic())
        self._say(Status(state="loading", device="", model=name, text=f"Loading {title}."))
        try:
            engine = self._open_engine(name, self._progress)
        except NijimiError as error:
            log.warning("loading failed: %s", error.code)
            self._refuse(name, error.code, error.sentence, error.action)
            return False
        except Exception:
            log.exception("loading failed")
            self._refuse(
                name,
                "internal",
                f"Loading {title} failed because of a fault in Nijimi.",
                "Run nijimi doctor; the backend's log says more.",
            )
            return False
        self.engine = engine
        self.wanted = engine.model.name
        self.refusals.forget(name)
        self._say(_ready(engine))
        return True

    def _refuse(self, name: str, code: str, sentence: str, action: str) -> None:
        report = ErrorReport(code=code, sentence=sentence, action=action)
        self.refusals.note(name, report, time.monotonic())
        self._tell(report)
        failed = Status(state="failed", device="", model=name, text=sentence)
        self._say(_ready(self.engine) if self.engine is not None else failed)

    def _progress(self, label: str, done: int, total: int) -> None:
        if self._meanwhile.is_news(label, done):
            self._tell(Progress(label=label, done=done, total=total))
        now = time.monotonic()
        if self.engine is not None and self._meanwhile.may_render(now):
            self._meanwhile.gave_up = not self._between(self.engine)
            self._meanwhile.rendered(now, time.monotonic())


def _ready(engine: EngineLike) -> Status:
    return Status(state="ready", device=engine.device, model=engine.model.name)
