"""Krita's own Qt over TLS: a backend elsewhere paints along; one that is not believed is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from nijimi_installer.desktop.krita_process import KritaProcess
from nijimi_installer.desktop.profile import KritaProfile
from nijimi_installer.desktop.xvfb import VirtualScreen

from .session import Session

QUICK = Path(__file__).resolve().parents[1] / "support" / "quick_backend.py"
TOKEN = "a-token-that-was-agreed-on-beforehand-0123456789"


@pytest.fixture
def far(own_profile: KritaProfile, tmp_path: Path) -> Iterator[Path]:
    """A backend with TLS that the profile names; its authority's certificate leaves."""
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, str(QUICK), "--host", "0.0.0.0",  # noqa: S104 - as on another machine
         "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"),
         "--allow-host", "127.0.0.1", "--token-from", str(token)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    before = own_profile.nijimi_config.read_text()
    remote = {
        "url": f"wss://127.0.0.1:{port}/nijimi",
        "token_file": str(token),
        "ca_file": str(tmp_path / "ca.pem"),
    }
    own_profile.nijimi_config.write_text(json.dumps({**json.loads(before), "remote": remote}))
    yield tmp_path / "ca.pem"
    own_profile.nijimi_config.write_text(before)
    process.terminate()
    process.wait(10)
    process.stdout.close()


def test_a_backend_elsewhere_paints_along(
    far: Path, own_profile: KritaProfile, screen: VirtualScreen
) -> None:
    own_profile.write(("nijimi", "nijimi_driver"))
    with KritaProcess(own_profile, screen.display) as krita:
        session = Session(krita)
        session.step("fill_screen")
        session.reset()
        session.go_live()
        session.stroke()
        report = session.nijimi("wait_until_shown")
        assert report["final_revision_shown"]
        assert report["device"] == "none", "it is the quick one, far away"
        assert session.nijimi("backend_pid") == 0, "no child of Krita's"
        assert krita.quit() == 0


def test_one_that_cannot_prove_itself_is_said(
    far: Path, own_profile: KritaProfile, screen: VirtualScreen
) -> None:
    trustme.CA().cert_pem.write_to_path(str(far))
    own_profile.write(("nijimi", "nijimi_driver"))
    with KritaProcess(own_profile, screen.display) as krita:
        session = Session(krita)
        session.reset()
        session.nijimi("set_values", live=True)
        session.wait_for(lambda: "not trusted" in session.inside("problem"), timeout_s=40)
        assert krita.quit() == 0
