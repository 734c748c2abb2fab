"""The sans-IO core of ``websockets`` enters from inside the plugin or from Python; one name leaves.

The plugin's archive carries the core as a part of this package. In a source tree it is absent, and
the installed ``websockets`` is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

__all__ = [
    "ClientProtocol",
    "Frame",
    "InvalidState",
    "Opcode",
    "Response",
    "State",
    "parse_uri",
]

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidState
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Response
    from websockets.protocol import State
    from websockets.uri import parse_uri
else:
    _OURS = f"{__package__.rpartition('.')[0]}.third_party"
    _CORE = f"{_OURS}.websockets" if importlib.util.find_spec(_OURS) else "websockets"
    ClientProtocol = importlib.import_module(f"{_CORE}.client").ClientProtocol
    InvalidState = importlib.import_module(f"{_CORE}.exceptions").InvalidState
    Frame = importlib.import_module(f"{_CORE}.frames").Frame
    Opcode = importlib.import_module(f"{_CORE}.frames").Opcode
    Response = importlib.import_module(f"{_CORE}.http11").Response
    State = importlib.import_module(f"{_CORE}.protocol").State
    parse_uri = importlib.import_module(f"{_CORE}.uri").parse_uri
