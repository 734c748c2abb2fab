"""Downloads: whole, checked, and continued where they broke; a server of our own stands in."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from nijimi_backend.cli import main
from nijimi_backend.engine.control import annotators
from nijimi_backend.errors import BadInput, DiskFull, DownloadFailed, ModelCorrupt
from nijimi_backend.models.downloads import Download, fetch, known_downloads
from safetensors.torch import save


class _Server(ThreadingHTTPServer):
    """``breaks``: how many answers end early. ``asked``: the Range of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = b""
        self.breaks = 0
        self.takes_ranges = True
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        wanted = self.headers.get("Range", "")
        server.asked.append(wanted)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://models.example/file")
            self.end_headers()
            return
        start = int(wanted[6:-1]) if wanted and server.takes_ranges else 0
        if start >= len(server.content) and start:
            self.send_error(416)
            return
        rest = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.breaks > 0:
            server.breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    server.content = save({"emb_params": torch.ones(300, 768)})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def _wanted(server: _Server, path: str = "/file", digest: str | None = None) -> Download:
    right = hashlib.sha256(server.content).hexdigest()
    return Download(
        name="calm", title="Calm", kind="embedding", family="sd1", folder="embeddings",
        file="calm.safetensors", url=server.address + path,
        sha256=right if digest is None else digest, bytes=0, licence="CC0", page="a page",
    )  # fmt: skip


def test_a_file_comes_whole_into_its_folder(server: _Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(_wanted(server), tmp_path, lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "embeddings" / "calm.safetensors"
    assert path.read_bytes() == server.content
    assert seen[-1] == (len(server.content), len(server.content))
    assert fetch(_wanted(server), tmp_path) == path
    assert len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == ["calm.safetensors"]


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_a_broken_download_goes_on(server: _Server, tmp_path: Path, takes_ranges: bool) -> None:
    server.breaks, server.takes_ranges = 2, takes_ranges
    path = fetch(_wanted(server), tmp_path, pause_s=0.0)
    assert path.read_bytes() == server.content
    assert len(server.asked) == 3
    assert re.fullmatch(r"bytes=\d+-", server.asked[1])


def test_what_came_is_kept_for_the_next_time(server: _Server, tmp_path: Path) -> None:
    server.breaks = 99
    with pytest.raises(DownloadFailed, match="connection broke"):
        fetch(_wanted(server), tmp_path, pause_s=0.0)
    part = tmp_path / "embeddings" / "calm.safetensors.part"
    assert 0 < part.stat().st_size < len(server.content)
    server.breaks = 0
    assert fetch(_wanted(server), tmp_path).read_bytes() == server.content
    assert not part.exists()


def test_a_part_that_is_whole_already_is_used(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "calm.safetensors.part").write_bytes(server.content)
    assert fetch(_wanted(server), tmp_path).read_bytes() == server.content


def test_another_hash_is_thrown_away(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ModelCorrupt, match="not what was published"):
        fetch(_wanted(server, digest="0" * 64), tmp_path)
    assert list((tmp_path / "embeddings").iterdir()) == []


def test_a_web_page_in_place_of_a_model_is_thrown_away(server: _Server, tmp_path: Path) -> None:
    server.content = b"<!DOCTYPE html><html>please sign in</html>" * 9
    with pytest.raises(ModelCorrupt, match="web page"):
        fetch(_wanted(server, digest=""), tmp_path)
    assert list((tmp_path / "embeddings").iterdir()) == []


def test_a_refusal_is_told_at_once(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="404"):
        fetch(_wanted(server, "/missing"), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["http://models.example/file", "file:///etc/passwd", "ftp://x/y"])
def test_only_https_is_asked(server: _Server, tmp_path: Path, url: str) -> None:
    wanted = replace(_wanted(server), url=url)
    with pytest.raises(DownloadFailed, match="only https"):
        fetch(wanted, tmp_path)


def test_no_redirect_leads_away_from_https(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"models.example/file is not asked"):
        fetch(_wanted(server, "/elsewhere"), tmp_path)


def test_a_full_disk_is_told_before_it_is_full(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10, 9, 1))
    with pytest.raises(DiskFull, match="are free"):
        fetch(_wanted(server), tmp_path)


def test_another_file_of_that_name_is_not_touched(server: _Server, tmp_path: Path) -> None:
    mine = tmp_path / "embeddings" / "calm.safetensors"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(BadInput, match="another file"):
        fetch(_wanted(server), tmp_path)
    assert mine.read_text() == "mine"


def test_a_network_of_another_kind_is_held_to_its_hash_only(
    server: _Server, tmp_path: Path
) -> None:
    server.content = b"an ONNX file begins otherwise"
    digest = hashlib.sha256(server.content).hexdigest()
    wanted = replace(_wanted(server, digest=digest), file="depth.onnx", folder="annotators")
    assert fetch(wanted, tmp_path) == tmp_path / "annotators" / "depth.onnx"
    server.content = b"something else"
    with pytest.raises(ModelCorrupt):
        fetch(replace(wanted, file="other.onnx"), tmp_path)


def test_the_list_is_complete_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    known = known_downloads()
    assert len({each.name for each in known}) == len(known) >= 18
    for each in known:
        assert re.fullmatch("[0-9a-f]{64}", each.sha256)
        assert each.url.startswith("https://")
        assert each.file.endswith((".safetensors", ".onnx"))
        assert each.file.endswith(".safetensors") or each.folder == annotators.FOLDER
        assert each.licence
        assert "/" not in each.file + each.folder
    assert main(["models", "fetch"]) == 0
    assert "lcm-lora-sdv1-5" in capsys.readouterr().out
    assert main(["models", "fetch", "nothing"]) == 2
    assert "Choose one of" in capsys.readouterr().err
