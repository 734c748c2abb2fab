"""A backend on another machine: only over TLS, only with the agreed token, only by its names."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from nijimi_backend.access import make_access, read_token_file
from nijimi_backend.errors import BadInput
from nijimi_protocol.messages import Welcome
from nijimi_protocol.session import ClientSession
from nijimi_protocol.version import SUBPROTOCOL
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import connect as connect_plainly

TOKEN = "a-token-that-was-agreed-on-beforehand-0123456789"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested
QUICK = Path(__file__).resolve().parents[1] / "support" / "quick_backend.py"


class Far:
    """A backend with TLS, here only as far away as 127.0.0.2."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        own = authority.issue_cert("127.0.0.2", "studio.test")
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        own.cert_chain_pems[0].write_to_path(str(self.cert))
        own.private_key_pem.write_to_path(str(self.key))
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN + "\n")
        self.token_file.chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has all of 127.0.0.0/8")
    monkeypatch.setenv("NIJIMI_LOGS", str(tmp_path / "logs"))
    far = Far(tmp_path)
    far.process = subprocess.Popen(
        [sys.executable, str(QUICK), "--host", EVERYWHERE, "--tls-cert", str(far.cert),
         "--tls-key", str(far.key), "--allow-host", "127.0.0.2",
         "--token-from", str(far.token_file)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert far.process.stdout is not None
    far.port = json.loads(far.process.stdout.readline())["port"]
    yield far
    far.process.terminate()
    far.process.wait(10)
    far.process.stdout.close()


def _ask(
    far: Far, *, token: str = TOKEN, host: str = "127.0.0.2", ca: Path | None = None,
    check_hostname: bool = True,
) -> object:  # fmt: skip
    """What is answered to a hello, as a client understands it.

    By asyncio: two threads must not use one TLS connection (OpenSSL then fails now and then with an
    internal error), which is what the client for threads does.
    """
    context = ssl.create_default_context(cafile=str(ca or far.ca))
    context.check_hostname = check_hostname
    session = ClientSession(token=token, client="far")

    async def talk() -> bytes | str:
        async with connect(
            f"wss://{host}:{far.port}/nijimi",
            ssl=context,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            open_timeout=10,
        ) as socket:
            await socket.send(session.hello())
            return await asyncio.wait_for(socket.recv(), 10)

    data = asyncio.run(talk())
    assert isinstance(data, bytes)
    return session.receive(data)


def test_a_painter_elsewhere_is_welcome_with_the_token(far: Far) -> None:
    assert isinstance(_ask(far), Welcome)


def test_without_the_token_nobody_is(far: Far) -> None:
    assert "token" in str(_ask(far, token="another one"))


def test_without_tls_nothing_is_heard(far: Far) -> None:
    with pytest.raises((InvalidHandshake, OSError, EOFError)):
        connect_plainly(f"ws://127.0.0.2:{far.port}/nijimi", open_timeout=5)


def test_another_authority_is_not_believed(far: Far, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(ssl.SSLCertVerificationError):
        _ask(far, ca=other)


def test_a_name_that_was_not_allowed_is_refused(far: Far) -> None:
    """As after DNS rebinding: the connection is there, but under another name."""
    with pytest.raises(InvalidStatus) as refused:
        _ask(far, host="127.0.0.1", check_hostname=False)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cert": None}, "needs TLS"),
        ({"has_token": False}, "know the token"),
        ({"names": ()}, "no name"),
        ({"key": Path("/no/such/key")}, "cannot be used"),
        ({"host": "127.0.0.1"}, "TLS is for other machines"),
    ],
)
def test_serving_others_needs_everything(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    files = Far(tmp_path)
    wanted: dict[str, object] = {
        "host": EVERYWHERE, "cert": files.cert, "key": files.key, "names": ("studio.test",),
        "has_token": True, **options,
    }  # fmt: skip
    with pytest.raises(BadInput, match=words) as refused:
        make_access(**wanted)  # type: ignore[arg-type]
    assert refused.value.action


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [(TOKEN, 0o644, "Others may read"), ("short", 0o600, "5 characters"), (None, 0, "read")],
)
def test_a_token_that_is_none_is_refused(
    tmp_path: Path, text: str | None, mode: int, words: str
) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(BadInput, match=words):
        read_token_file(path)
