"""Words of the command line enter; one of the commands runs, and its exit status leaves."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import shtab
from nijimi_protocol.version import VERSION

from . import (
    doctor,
    models_command,
    pose_command,
    render_command,
    serve_command,
    upscale_command,
)
from .errors import NijimiError

__all__ = ["main"]

_STATUS = """\
exit status:
  0    done; doctor, models verify: all is well
  1    a fault of Nijimi's own; doctor, models verify: something is broken
  2    something that you can mend, said in a sentence, or words that make no command
  3    serve: the device was lost; whoever started the backend starts it again
  130  interrupted (Ctrl+C)
"""


def main(words: Sequence[str] | None = None) -> int:
    """``nijimi``: 0 for success, 2 for what the user can mend, 1 for the rest."""
    parser = argparse.ArgumentParser(
        prog="nijimi",
        description="Live diffusion painting for Krita: the backend and its tools.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shtab.add_argument_to(
        parser, "--print-completion", help="print what makes a shell complete these words"
    )
    parser.add_argument("--version", action="version", version=f"nijimi {VERSION}")
    parser.add_argument("--verbose", action="store_true", help="log more")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve Krita (the plugin starts this by itself)")
    serve_command.add_arguments(serve)
    serve.set_defaults(run=serve_command.run)
    render = commands.add_parser("render", help="render one picture without Krita")
    render_command.add_arguments(render)
    render.set_defaults(run=render_command.run)
    upscale = commands.add_parser("upscale", help="enlarge a picture and repaint its details")
    upscale_command.add_arguments(upscale)
    upscale.set_defaults(run=upscale_command.run)
    pose = commands.add_parser("pose", help="find the people in a picture, as an OpenPose file")
    pose_command.add_arguments(pose)
    pose.set_defaults(run=pose_command.run)
    check = commands.add_parser("doctor", help="say what is installed and what is broken")
    doctor.add_arguments(check)
    check.set_defaults(run=doctor.run)
    models = commands.add_parser("models", help="what is in your folders of models")
    models_command.add_arguments(models)
    plugin = commands.add_parser("plugin", help="the Krita plugin")
    plugin_commands = plugin.add_subparsers(dest="plugin_command", required=True)
    build = plugin_commands.add_parser("build", help="make the archive that Krita imports")
    build.add_argument("-o", "--output", type=Path, default=Path("nijimi.zip"))
    build.add_argument(
        "--with-backend", action="store_true", help="carry what the plugin installs a backend from"
    )
    build.set_defaults(run=_build_plugin)
    args = parser.parse_args(words)
    # Nothing that we load may ask a model hub: everything is on this machine.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        return args.run(args)
    except NijimiError as error:
        print(f"nijimi: {error.sentence} {error.action}".rstrip(), file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130


def _build_plugin(args: argparse.Namespace) -> int:
    from .plugin_archive import build_archive

    build_archive(args.output, with_backend=args.with_backend)
    print(f"wrote {args.output}")  # noqa: T201
    return 0
