"""The docker's values and what is selected enter; render parameters leave for the backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.messages import SetParams
from nijimi_protocol.params import RenderMode, RenderParams

from ..link.connection import Connection
from ..model.live_state import LiveState
from ..model.settings import Settings
from ..texts import told
from .area_flow import AreaFlow
from .chosen_layers import ChosenLayers
from .places import Places

__all__ = ["ParamsSender"]


class ParamsSender:
    """Sends what is wished for, and remembers what the backend goes by."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        live_state: LiveState,
        chosen: ChosenLayers,
        area: AreaFlow,
        places: Places,
    ) -> None:
        self.document: Any = None
        """The one in front, or None."""
        self.accepted: RenderParams | None = None
        """What was sent last and is in order; None before the first."""
        self._connection = connection
        self._settings = settings
        self._live_state = live_state
        self._chosen = chosen
        self._area = area
        self._places = places

    def begin_session(self) -> None:
        """A fresh session knows nothing of us."""
        self.accepted = None

    def wished(self) -> RenderParams:
        """The docker's values; with a selection only that is repainted."""
        params = self._settings.params()
        if context := self._chosen.context(self.document):
            params = replace(params, inpaint=replace(params.inpaint, context=context))
        if self._area.is_part(self.document):
            return replace(params, mode=RenderMode.INPAINT)
        return params

    def send(self) -> None:
        """Send them; what is not in order is told of, and the last good ones stay in use."""
        session = self._connection.session
        if session is None or not self._connection.is_open:
            return
        params = self.wished()
        try:
            data = session.set_params(SetParams(revision=0, params=params))
        except RejectedChange as error:
            self._live_state.tell("params", told(error.code, error.sentence), error.action)
            # On and off must reach the backend whatever else is wrong.
            if self.accepted is None or self.accepted.live == params.live:
                return
            params = replace(self.accepted, live=params.live)
            data = session.set_params(SetParams(revision=0, params=params))
        else:
            self._live_state.forget("params")
            self._live_state.forget("backend")
        self.accepted = params
        self._places.note(session.revision, params.mode)
        self._connection.send(data)

    def send_if_mode_changed(self) -> None:
        """Where another document came to the front, with a selection or without."""
        if self.accepted is not None and self.wished().mode is not self.accepted.mode:
            self.send()

    def send_if_inpaint_changed(self) -> None:
        """Where the layer that is the context may cover something else now."""
        if self.accepted is not None and self.wished().inpaint != self.accepted.inpaint:
            self.send()
