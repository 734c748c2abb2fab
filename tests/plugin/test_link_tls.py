"""The plugin's end of TLS: a backend elsewhere must prove itself before it hears the token."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from nijimi.link.connection import MAX_QUICK_ENDS, Connection
from nijimi.model.config import Remote
from nijimi.qt import QT_VERSION, QtNetwork
from nijimi_protocol.session import ServerSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.sync.server import ServerConnection, serve


def _needs_tls() -> None:
    # Asked of PyQt5 from pip, Qt says aloud that it wants an older OpenSSL.
    if QT_VERSION == 5 or not QtNetwork.QSslSocket.supportsSsl():
        pytest.skip("this Qt comes without TLS: see test_all_of_this_with_qt_6")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[dict[str, object]]:
    """A backend over TLS, with a certificate for 127.0.0.1 of an authority of its own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    (tmp_path / "token").write_text("the token\n")

    def handle(socket: ServerConnection) -> None:
        session = ServerSession(token="the token", device="far", models=())
        data = socket.recv()
        assert isinstance(data, bytes)
        session.receive(data)
        socket.send(session.welcome())
        for _ in socket:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = serve(
        handle,
        "127.0.0.1",
        0,
        ssl=context,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        compression=None,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"port": server.socket.getsockname()[1], "folder": tmp_path}
    server.shutdown()


def _far(far: dict[str, object], ca: str, host: str = "127.0.0.1") -> Connection:
    folder, port = far["folder"], far["port"]
    assert isinstance(folder, Path)
    assert isinstance(port, int)
    remote = Remote(host, port, str(folder / "token"), str(folder / ca))
    return Connection([], remote=remote)


def test_a_backend_elsewhere_is_reached_over_tls(
    far: dict[str, object], wait: Callable[..., None]
) -> None:
    _needs_tls()
    connection = _far(far, "ca.pem")
    connection.start()
    wait(lambda: connection.is_open)
    assert connection.session is not None
    assert connection.session.welcome is not None
    assert connection.session.welcome.device == "far"
    assert connection.backend_pid == 0
    connection.stop()


@pytest.mark.parametrize(
    ("ca", "host", "words"),
    [("other.pem", "127.0.0.1", "not trusted"), ("ca.pem", "localhost", "not trusted"),
     ("token", "127.0.0.1", "no certificate")],
)  # fmt: skip
def test_a_backend_elsewhere_that_cannot_prove_itself_is_not_told_the_token(
    far: dict[str, object], wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    ca: str, host: str, words: str,
) -> None:  # fmt: skip
    _needs_tls()
    monkeypatch.setattr("nijimi.link.connection._BACKOFF_MS", (1,) * MAX_QUICK_ENDS)
    connection, problems = _far(far, ca, host), list[str]()
    connection.problem.connect(lambda sentence, _action: problems.append(sentence))
    connection.start()
    wait(lambda: bool(problems))
    assert words in problems[0]
    assert not connection.is_open


def test_a_remote_token_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    remote = Remote("studio.test", 1, str(tmp_path / "none"))
    connection, problems = Connection([], remote=remote), list[str]()
    connection.problem.connect(lambda sentence, _action: problems.append(sentence))
    connection.start()
    assert "token" in problems[0]


def test_all_of_this_with_qt_6() -> None:
    """Krita's own Qt 5 is tried in tests/krita."""
    if QT_VERSION == 6:
        pytest.skip("this is Qt 6")
    run = "import sys, PyQt6.QtCore, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", run, __file__, "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed, 1 skipped" in done.stdout
