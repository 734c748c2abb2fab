"""Command-line options enter; a backend that serves until it is told to stop leaves nothing.

The parent's contract: with ``--token-stdin`` the first line of standard input is the token, and
the end of standard input means that the parent is gone, however it died: then this process ends.
One line of JSON on standard output says where it listens; logs go to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nijimi_protocol.messages import ModelEntry
from nijimi_protocol.params import RenderParams
from nijimi_protocol.picture_info import lora_names
from nijimi_protocol.version import PROTOCOL, VERSION

from .access import LOOPBACK, make_access, new_token, read_token_file, write_token_file
from .crash_notes import CrashNotes
from .errors import BadInput, NijimiError
from .leash import end_with_parent, show_life
from .models.catalog import data_dir
from .models.digests import Digests
from .models.library import Library, open_library
from .models.recognise import FileKind
from .server import (
    BUDGET_BYTES,
    MAX_CLIENTS,
    NijimiServer,
)
from .session.jobs import EngineLike, EngineOpener
from .session.memory import keep_freed_memory
from .session.worker import Worker

if TYPE_CHECKING:
    from .engine.native.provider import Native
    from .engine.recorded import Pauses

__all__ = ["add_arguments", "run"]

log = logging.getLogger(__name__)

_NICENESS = 5
"""The painter's own program goes first: on few cores the pen must not wait for the networks."""

_LAST_RESORT_S = 5.0

_DEVICE_LOST_STATUS = 3
_FAREWELL_S = 0.3

_LISTED = (
    FileKind.LORA, FileKind.EMBEDDING, FileKind.HYPERNETWORK, FileKind.UPSCALER, FileKind.VAE,
)  # fmt: skip
_MOST_ENTRY_BYTES = 200_000
_MOST_LOOKED_UP = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--model", default="", help="name of the model to begin with")
    parser.add_argument("--models-dir", type=Path, default=None, help="folder of your own models")
    parser.add_argument(
        "--models-from",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of ComfyUI, A1111 or Forge to read models from, too; may be given again",
    )
    parser.add_argument("--host", default=LOOPBACK, help="listen there; beyond this machine: TLS")
    parser.add_argument("--tls-cert", type=Path, help="the certificate (PEM), for other machines")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name or address that painters on other machines connect to; may be given again",
    )
    parser.add_argument("--max-clients", type=int, default=MAX_CLIENTS, help="more are refused")
    parser.add_argument(
        "--memory-gib",
        type=float,
        default=BUDGET_BYTES / 2**30,
        help="what the canvases of all clients may take",
    )
    parser.add_argument(
        "--log-words",
        action="store_true",
        help="let the log file quote errors whole, prompts included",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--model-memory-gib",
        type=float,
        help="what the networks of a model may take of the device's memory (default: all)",
    )
    parser.add_argument(
        "--eight-bit",
        action="store_true",
        help="multiply in eight bits where the device does that faster: quicker, less exact",
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token-stdin",
        action="store_true",
        help="read the token from standard input, and end when it ends",
    )
    token.add_argument("--token-file", type=Path, help="write a new token to this file")
    token.add_argument(
        "--token-from", type=Path, help="read the token from this file, which only you may read"
    )


def run(args: argparse.Namespace, engine: EngineOpener | None = None) -> int:
    """Serve until SIGINT, SIGTERM or the parent's end. 0 after a clean end.

    ``engine`` stands in for the real one where its weights do not matter.
    """
    if not 0 <= args.port <= 65535:
        raise BadInput(f"{args.port} is no port.", "Choose one from 1 to 65535, or 0.")
    gib: float | None = args.model_memory_gib
    if args.max_clients < 1 or args.memory_gib <= 0 or (gib is not None and gib <= 0):
        raise BadInput("That leaves no room for anybody.", "Give larger numbers, or none.")
    access = make_access(
        args.host,
        args.tls_cert,
        args.tls_key,
        args.allow_host,
        has_token=args.token_from is not None,
    )
    token_file: Path | None = None
    if args.token_from is not None:
        token = read_token_file(args.token_from)
    elif args.token_stdin:
        token = sys.stdin.readline().strip()
        if not token:
            raise BadInput("No token came on standard input.", "Write one line with the token.")
    else:
        token = new_token()
        wanted: Path | None = args.token_file
        named = wanted or Path(tempfile.mkdtemp(prefix="nijimi-")) / "token"
        token_file = named
        try:
            write_token_file(named, token)
        except OSError as error:
            raise BadInput(
                f"{named} cannot be written ({error.strerror}).", "Name another --token-file."
            ) from error
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    keep_freed_memory()

    # Two: this one is looked at by the server's thread, the other by the engine's.
    shown = open_library(args.models_dir, args.models_from)
    used = open_library(args.models_dir, args.models_from)

    pauses: Pauses | None = None
    native: Native | None = None

    def open_engine(name: str, progress: Callable[[str, int, int], None]) -> EngineLike:
        # Imported here, in the worker's thread: torch takes seconds, listening must not.
        from .engine.engine import open_engine as open_real
        from .engine.native.provider import Native
        from .engine.quickened import QuickPack
        from .engine.recorded import Pauses

        # What one model is still compiled for goes on while another one is opened, and what is
        # built for this processor is built once.
        nonlocal pauses, native
        pauses, native = pauses or Pauses(), native or Native()
        budget = None if gib is None else round(gib * 2**30)
        rounds: bool = args.eight_bit
        pack = QuickPack(
            may_hold_twice=budget is None, eight_bit=rounds, pauses=pauses, native=native
        )
        opened = open_real(
            name, args.models_dir, args.device, progress, used, budget, pack,
            recorder=pack.recorder, eight_bit=rounds, at_work=pack.at_work,
        )  # fmt: skip
        pack.wait_for_pauses()
        return opened

    digests = Digests(data_dir() / "digests.json")
    # Looked up where the folders are looked at: that may take long, and not the server's thread.
    generated: deque[RenderParams] = deque(maxlen=_MOST_LOOKED_UP)

    def look() -> tuple[ModelEntry, ...]:
        while generated:
            _want_digests(generated.popleft(), shown, digests)
        return _entries(shown, digests)

    worker = Worker(engine or open_engine, args.model, _end_at_once)
    server = NijimiServer(
        worker,
        token=token,
        models=look,
        on_generate=generated.append,
        access=access,
        max_clients=args.max_clients,
        budget_bytes=round(args.memory_gib * 2**30),
    )
    notes = CrashNotes(with_words=args.log_words)
    if args.token_stdin:
        end_with_parent()
    try:
        asyncio.run(_serve(server, worker, args, token_file, notes))
    finally:
        notes.close()
        if token_file is not None:
            token_file.unlink(missing_ok=True)
            if args.token_file is None:
                token_file.parent.rmdir()
    return 0


def _end_at_once(error: NijimiError) -> None:
    """This process is of no use any more; whoever started it starts another one."""
    log.critical("the device is lost")
    # The plugin shows the last line of this form when a backend ends by itself.
    print(f"nijimi: {error.sentence} {error.action}", file=sys.stderr, flush=True)  # noqa: T201
    # Until who is connected has heard it.
    time.sleep(_FAREWELL_S)
    os._exit(_DEVICE_LOST_STATUS)


def _want_digests(params: RenderParams, library: Library, digests: Digests) -> None:
    """A picture that is kept names what it was made with."""
    named = [(FileKind.LORA, name) for name in lora_names(params.prompt)]
    named += [(FileKind.CHECKPOINT, params.model)] if params.model else []
    for kind, name in named:
        if (file := library.find((kind,), name)) is not None:
            digests.want(file)


def _entries(library: Library, digests: Digests) -> tuple[ModelEntry, ...]:
    """Models first, then what prompts can name and what enlarges; no more than a message holds."""
    known = {file.path: digests.known(file) for file in library.files()}
    entries = [
        ModelEntry(
            name=m.name, title=m.title, family=m.family, native_px=m.native_px,
            digest=known.get(m.path, ""),
        )
        for m in library.models()
    ]  # fmt: skip
    for file in library.files():
        kind = file.found.kind
        if kind in _LISTED and not file.trouble:
            entry = ModelEntry(
                name=file.name, title=file.name, family=file.found.family, kind=kind.value,
                digest=known[file.path],
            )  # fmt: skip
            entries.append(entry)
    size, kept = 0, 0
    for entry in entries:
        size += len(json.dumps(vars(entry)))
        if size > _MOST_ENTRY_BYTES or max(len(entry.name), len(entry.title)) > 500:
            log.warning("only the first %d models are listed", kept)
            break
        kept += 1
    return tuple(entries[:kept])


async def _serve(
    server: NijimiServer,
    worker: Worker,
    args: argparse.Namespace,
    token_file: Path | None,
    notes: CrashNotes,
) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    await server.start(args.port)
    line: dict[str, object] = {
        "event": "listening",
        "port": server.port,
        "protocol": PROTOCOL,
        "pid": os.getpid(),
    }
    if token_file is not None:
        line["token_file"] = str(token_file)
    print(json.dumps(line), flush=True)  # noqa: T201 - the contract with the parent
    log.info("nijimi %s serves", VERSION)
    worker.start()
    tasks: list[asyncio.Task[None]] = []
    if args.token_stdin:
        watcher = threading.Thread(target=_watch_parent, args=(loop, ended), daemon=True)
        watcher.start()
        tasks.append(asyncio.create_task(show_life(notes.file)))
    for name in ("SIGINT", "SIGTERM"):
        try:
            loop.add_signal_handler(getattr(signal, name), ended.set)
        except NotImplementedError:
            # Windows: Ctrl-C arrives as KeyboardInterrupt and ends asyncio.run.
            log.debug("no handler for %s on this system", name)
    await ended.wait()
    log.info("ending")
    for task in tasks:
        task.cancel()
    threading.Timer(_LAST_RESORT_S, os._exit, (1,)).start() if args.token_stdin else None
    await server.close()
    await asyncio.to_thread(worker.stop)
    if args.token_stdin:
        # The worker may be deep inside a library; nothing is left to save.
        notes.close()
        os._exit(0)


def _watch_parent(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Wait for the end of standard input: the parent holds its other end."""
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 4096):
        pass
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:
        os._exit(0)
