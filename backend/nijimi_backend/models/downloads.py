"""A name of the list of downloads enters; its file, whole and checked, lies in the models folder.

Broken downloads go on where they stopped. Nothing is used before its hash is the published one.
"""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from nijimi_protocol.version import VERSION

from ..errors import BadInput, DiskFull, DownloadFailed, ModelCorrupt
from .headers import file_sha256, read_header

__all__ = ["Download", "fetch", "known_downloads"]

_LIST = Path(__file__).with_name("downloads.json")
_BLOCK_BYTES = 1024 * 1024
_SPARE_BYTES = 200 * 1024 * 1024
"""What stays free on the disk."""

_TRIES = 4
_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Download:
    """One model that can be fetched. ``sha256`` "" and ``bytes`` 0: not known."""

    name: str
    title: str
    kind: str
    family: str
    folder: str
    file: str
    url: str
    sha256: str
    bytes: int
    licence: str
    page: str


def known_downloads(path: Path = _LIST) -> tuple[Download, ...]:
    """The curated list, as it is written."""
    value = cast("dict[str, list[dict[str, Any]]]", json.loads(path.read_text("utf-8")))
    return tuple(Download(**entry) for entry in value["models"])


def fetch(
    wanted: Download,
    models_dir: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    pause_s: float = 2.0,
) -> Path:
    """Raises ``DownloadFailed``, ``DiskFull`` or ``ModelCorrupt``; what has come is kept."""
    _check_address(wanted.url)
    target = models_dir / wanted.folder / wanted.file
    if target.is_file() and (not wanted.sha256 or file_sha256(target) == wanted.sha256):
        return target
    if target.exists():
        raise BadInput(
            f"{target} is there already, and is another file.", "Move it away, then fetch again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(_TRIES):
        try:
            _load(wanted, part, progress)
            break
        except urllib.error.HTTPError as error:
            # The server's word: asking again would not change it.
            raise DownloadFailed(
                f"{wanted.title} was not downloaded: {wanted.url} answers {error}.",
                f"See {wanted.page}; some models want you to agree to their licence there first.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            if attempt + 1 == _TRIES:
                raise DownloadFailed(
                    f"{wanted.title} was not downloaded: the connection broke ({error}).",
                    "Try again: it goes on where it stopped.",
                ) from error
            time.sleep(pause_s * (attempt + 1))
    if wanted.sha256 and (found := file_sha256(part)) != wanted.sha256:
        part.unlink()
        raise ModelCorrupt(
            f"{wanted.title} is not what was published: its hash is {found[:16]}…, not "
            f"{wanted.sha256[:16]}…. It was thrown away.",
            "Fetch it again; if that does not help, do not trust the place it came from.",
        )
    if target.suffix == ".safetensors":
        try:
            read_header(part)
        except ModelCorrupt:
            part.unlink()
            raise
    part.replace(target)
    return target


def _load(wanted: Download, part: Path, progress: Callable[[int, int], None]) -> None:
    done = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": f"nijimi/{VERSION}"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 - checked before
    try:
        opener = urllib.request.build_opener(_CarefulRedirects)
        answer = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            # All of it is here, or the file has become another one: the hash will tell.
            return
        if error.code >= 500:
            raise OSError(str(error)) from error
        raise
    with answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdigit() else wanted.bytes
        free = shutil.disk_usage(part.parent).free
        if total and total - done + _SPARE_BYTES > free:
            raise DiskFull(
                f"{wanted.title} needs {(total - done) / 1e9:.1f} GB more, and only "
                f"{free / 1e9:.1f} GB are free.",
                "Free some room, or choose another models folder; what has come is kept.",
            )
        with part.open("ab" if done else "wb") as file:
            while block := answer.read(_BLOCK_BYTES):
                file.write(block)
                done += len(block)
                progress(done, total)
        if total and done < total:
            raise OSError("it ended early")


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect away from https."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    if parts.scheme != "https" and not is_local:
        raise DownloadFailed(
            f"{url[:200]} is not asked: only https addresses are.", "Tell Nijimi's makers of it."
        )
