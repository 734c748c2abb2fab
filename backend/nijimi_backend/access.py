"""Options of serving enter; who may connect, and how, leaves as one checked value.

Loopback is open to whoever has the token. Beyond it there is no serving without TLS, without a
token that was agreed on before, and without the names by which painters reach this machine.
"""

from __future__ import annotations

import http
import ipaddress
import os
import secrets
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from .errors import BadInput

__all__ = [
    "LOOPBACK",
    "Access",
    "make_access",
    "new_token",
    "read_token_file",
    "write_token_file",
]

LOOPBACK = "127.0.0.1"
PATH = "/nijimi"

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SHORTEST_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where to listen, what a Host header may say, and the certificate, where there is one."""

    host: str = LOOPBACK
    hosts: frozenset[str] = _LOOPBACK_HOSTS
    tls: ssl.SSLContext | None = None

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a request by its Host (DNS rebinding) and path, before the handshake."""
        host = request.headers.get("Host", "").rsplit(":", 1)[0].lower()
        if host not in self.hosts:
            return connection.respond(http.HTTPStatus.FORBIDDEN, "Not a name of this backend.\n")
        if request.path != PATH:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Nijimi listens at /nijimi.\n")
        return None


def make_access(
    host: str, cert: Path | None, key: Path | None, names: Sequence[str], *, has_token: bool
) -> Access:
    """Check what was asked for. ``has_token``: painters know the token beforehand."""
    if _is_loopback(host):
        if cert is not None or key is not None or names:
            raise BadInput(
                "TLS is for other machines; this backend listens on this one only.",
                "Give --host, too, or leave --tls-cert, --tls-key and --allow-host out.",
            )
        return Access(host=LOOPBACK)
    if cert is None or key is None:
        raise BadInput(
            f"Listening on {host} lets other machines connect, which needs TLS.",
            "Give --tls-cert and --tls-key, or leave --host out.",
        )
    if not has_token:
        raise BadInput(
            "Painters on other machines need to know the token.",
            "Put one into a file that only you can read and name it with --token-from.",
        )
    if not names:
        raise BadInput(
            "Nobody could connect: no name of this backend is allowed.",
            "Give --allow-host with the name or address that painters connect to.",
        )
    return Access(
        host=host, hosts=frozenset(name.lower() for name in names), tls=_tls_context(cert, key)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"The certificate {cert} with the key {key} cannot be used ({error}).",
            "Both must be PEM files and belong together.",
        ) from error
    return context


def read_token_file(path: Path) -> str:
    """A token that was agreed on: one line of a file that nobody else may read."""
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}).", "Name another --token-from.") from error
    # Elsewhere the mode says nothing of who may read it.
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadInput(f"Others may read {path}.", f"Run: chmod 600 {path}")
    if len(token) < _SHORTEST_TOKEN:
        raise BadInput(
            f"The token in {path} has {len(token)} characters; it must have "
            f"{_SHORTEST_TOKEN} at least.",
            'Make one: python3 -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return token


def new_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)


def write_token_file(path: Path, token: str) -> None:
    """Write the token so that only this user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(token + "\n")
