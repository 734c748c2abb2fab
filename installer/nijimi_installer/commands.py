"""Words of the command line enter; installation, Krita, demo or tests run; a status leaves."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .backend_install import install_backend
from .demo import run_demo
from .environment import ensure_environment
from .errors import InstallError, KritaRunning, MissingProgram
from .paths import krita_paths, repository_root
from .plugin_install import build_archive, enable_plugin, unpack_plugin, write_config
from .processes import is_running
from .progress import say, stage
from .system_packages import DEBIAN_PACKAGES, ensure_system_packages, install_command
from .test_command import run_tests

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """0 for success, 1 with a sentence for the rest, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python3 installer")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="install what is missing and start painting")
    run.add_argument(
        "--headless", action="store_true", help="paint a demo on a virtual screen and report"
    )
    run.add_argument("--model", default="", help="name of the model to begin with")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run.add_argument("--torch-index", default="", help="a package index with another torch build")
    run.set_defaults(run=_run)
    backend = commands.add_parser("backend", help="only the backend, into a folder of its own")
    backend.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    backend.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    backend.add_argument("--torch-index", default="")
    backend.set_defaults(run=_backend)
    test = commands.add_parser("test", help="lint, types and every test")
    test.add_argument("--torch-index", default="")
    test.set_defaults(run=_test)
    args, rest = parser.parse_known_args(words)
    if rest and args.command != "test":
        parser.error(f"unknown: {' '.join(rest)}")
    args.rest = rest
    # A service manager ends us with SIGTERM: end what we started as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return args.run(args)
    except InstallError as error:
        say(f"\nNijimi: {error.sentence}\n{error.action}".rstrip())
        return 1
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        say(f"\nNijimi: {error.strerror or error}:{where}")
        say("Check that the disk has room and that you may write there, then run this again.")
        return 1
    except KeyboardInterrupt:
        say("\nended")
        return 130


def _run(args: argparse.Namespace) -> int:
    root = repository_root()
    python = ensure_environment(root, torch_index=args.torch_index)
    headless = args.headless or _has_no_display()
    ensure_system_packages(DEBIAN_PACKAGES if headless else ("krita", "python3-pyqt5"))
    archive = root / ".nijimi" / "nijimi.zip"
    with stage("Building the Krita plugin"):
        build_archive(python, archive)
    if headless:
        output = Path.cwd() / "nijimi-demo"
        profile = root / ".nijimi" / "demo-profile"
        run_demo(python, archive, profile, output, model=args.model, device=args.device)
        say(f"==> See {output}")
        return 0
    return _start_krita(python, archive, args)


def _start_krita(python: Path, archive: Path, args: argparse.Namespace) -> int:
    paths = krita_paths(platform.system(), os.environ, str(Path.home()))
    if is_running("krita"):
        raise KritaRunning(
            "Krita is running: at its end it would overwrite the settings that we make.",
            "Save your work, close Krita and run this again.",
        )
    with stage("Installing the plugin into Krita"):
        unpack_plugin(archive, Path(paths.pykrita))
        enable_plugin(Path(paths.kritarc))
        write_config(
            Path(paths.nijimi_config), python, live=True, model=args.model, device=args.device
        )
    found = next((str(p) for p in paths.executables if Path(p).exists()), shutil.which("krita"))
    if found is None:
        raise MissingProgram("Krita is not installed.", f"Run: {install_command()}")
    say("==> Starting Krita; Ctrl-C here ends it. The docker is in Settings, Dockers, Nijimi.")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    if platform.system() == "Linux":
        # Krita's embedded Python takes the first python3 of PATH for its own.
        environment["PATH"] = "/usr/bin:/bin"
    krita = subprocess.Popen([found, "--nosplash"], env=environment)
    try:
        return krita.wait()
    finally:
        if krita.poll() is None:
            krita.terminate()
            try:
                krita.wait(10)
            except subprocess.TimeoutExpired:
                krita.kill()


def _backend(args: argparse.Namespace) -> int:
    into: Path = args.into
    install_backend(
        repository_root(), into.absolute(), device=args.device, torch_index=args.torch_index
    )
    return 0


def _test(args: argparse.Namespace) -> int:
    root = repository_root()
    python = ensure_environment(root, extras=("dev",), torch_index=args.torch_index)
    ensure_system_packages()
    return run_tests(python, root, args.rest)


def _has_no_display() -> bool:
    if platform.system() != "Linux":
        return False
    return not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
