"""What can go wrong on the wire, as one tree; a failure enters, a code and two sentences leave.

    ProtocolError
    ├── LocalProtocolError         our own code asked for something the protocol forbids
    └── RemoteProtocolError        the peer's fault
        ├── MalformedMessage       bytes that are no message of ours            (fatal)
        ├── OversizedMessage       larger than what was agreed                  (fatal)
        ├── OutOfOrder             a message that this state does not allow     (fatal)
        ├── Unauthorized           the token is not the right one               (fatal)
        ├── VersionMismatch        no dialect in common                         (fatal)
        └── RejectedChange         a change that is refused; the session goes on

A fatal error ends the connection after it was told to the peer. A rejected change leaves the
mirrored state as it was before, so nothing is lost.
"""

from __future__ import annotations

__all__ = [
    "LocalProtocolError",
    "MalformedMessage",
    "OutOfOrder",
    "OversizedMessage",
    "ProtocolError",
    "RejectedChange",
    "RemoteProtocolError",
    "Unauthorized",
    "VersionMismatch",
]


class ProtocolError(Exception):
    """The root: ``code`` for programs, ``sentence`` and ``action`` for people."""

    code = "protocol"
    fatal = True

    def __init__(self, sentence: str, action: str = "") -> None:
        super().__init__(f"{sentence} {action}".strip())
        self.sentence = sentence
        self.action = action


class LocalProtocolError(ProtocolError):
    """Our own code called the session in a way the protocol forbids: a bug of ours."""

    code = "local"


class RemoteProtocolError(ProtocolError):
    """The peer sent something it must not send."""

    code = "remote"


class MalformedMessage(RemoteProtocolError):
    """The bytes are no message of this protocol."""

    code = "malformed"

    def __init__(self, sentence: str, action: str = "Restart Krita and the backend.") -> None:
        super().__init__(sentence, action)


class OversizedMessage(RemoteProtocolError):
    """A message, or what it would unpack to, is larger than both ends agreed."""

    code = "oversized"


class OutOfOrder(RemoteProtocolError):
    """A message that the state of the session does not allow."""

    code = "out_of_order"

    def __init__(self, sentence: str, action: str = "Restart Krita and the backend.") -> None:
        super().__init__(sentence, action)


class Unauthorized(RemoteProtocolError):
    """The token is missing or wrong."""

    code = "unauthorized"


class VersionMismatch(RemoteProtocolError):
    """The two ends have no dialect in common."""

    code = "version"


class RejectedChange(RemoteProtocolError):
    """A change of state that is refused; the session and the state before it stay."""

    code = "rejected"
    fatal = False

    def __init__(self, code: str, sentence: str, action: str = "", revision: int = 0) -> None:
        super().__init__(sentence, action)
        self.code = code
        self.revision = revision
