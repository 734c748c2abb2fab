"""A picture enters on the command line; the people in it leave as an OpenPose file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nijimi_protocol.geometry import Extent
from nijimi_protocol.openpose import openpose_text

from .errors import BadInput
from .models.package_files import files_dir
from .picture_files import read_picture

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, help="a picture with people in it")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")


def run(args: argparse.Namespace) -> int:
    """Find everybody and write the file, whole or not at all."""
    from .engine.control.find_people import PeopleFinder

    output: Path = args.output
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise BadInput(f"{output} cannot be written.", "Name a file in a folder that exists.")
    finder = PeopleFinder(files_dir("blazepose"))
    canvas = read_picture(args.image).canvas
    people = finder.find(canvas)
    if not people:
        raise BadInput("Nobody was found in the picture.", "People must be seen from head to hips.")
    beside = output.with_name(output.name + ".part")
    text = openpose_text(people, Extent(canvas.shape[1], canvas.shape[0]))
    beside.write_text(text, encoding="utf-8")
    beside.replace(output)
    sys.stderr.write(f"{output}: {len(people)} found\n")
    return 0
