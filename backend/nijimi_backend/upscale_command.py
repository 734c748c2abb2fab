"""A picture and how much larger it is to become enter on the command line; a PNG leaves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.params import RenderMode, RenderParams
from nijimi_protocol.upscale import UpscaleParams

from .engine.request import FrameRequest
from .errors import BadInput
from .models.library import open_library
from .picture_files import PictureFile, read_picture, write_picture
from .picture_text import picture_text
from .session.memory import keep_freed_memory
from .terminal import progress_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    wish = UpscaleParams()
    parser.add_argument("image", type=Path, help="the picture to enlarge")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--factor", type=float, default=wish.factor, help="1 to 4")
    parser.add_argument(
        "--upscaler", default="", metavar="NAME",
        help="a network of the ESRGAN family or like it, in the models folder; default: none",
    )  # fmt: skip
    parser.add_argument(
        "--strength", type=float, default=wish.strength,
        help="how far the checkpoint repaints the enlarged picture; 0 leaves it as it is",
    )  # fmt: skip
    parser.add_argument("--prompt", default="", help="what the picture shows")
    parser.add_argument("--negative", default="", help="what should not be there (guidance > 1)")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="", help="name or folder of a model")
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument("--models-from", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def run(args: argparse.Namespace) -> int:
    """Enlarge, repaint and write the PNG, whole or not at all."""
    keep_freed_memory()
    canvas = read_picture(args.image).canvas
    extent = Extent(canvas.shape[1], canvas.shape[0])
    params = RenderParams(
        prompt=args.prompt,
        negative_prompt=args.negative,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        seed=args.seed,
        mode=RenderMode.IMG2IMG,
    )
    wish = UpscaleParams(factor=args.factor, model=args.upscaler, strength=args.strength)
    try:
        params.checked(Limits())
        wish.checked().check_extent(extent, Limits())
    except RejectedChange as error:
        raise BadInput(error.sentence, error.action) from None
    if args.output.is_dir() or not args.output.parent.is_dir():
        raise BadInput(
            f"{args.output} cannot be written.", "Name a file in a folder that is there."
        )

    # Imported only now: bad options are told at once, torch takes seconds.
    from .engine.engine import open_engine

    library = open_library(args.models_dir, args.models_from)
    with progress_bar("loading") as note:
        engine = open_engine(
            args.model, args.models_dir, args.device, lambda _, *at: note(*at), library
        )
    request = FrameRequest(
        params=params, extent=extent, canvas=canvas, canvas_version=1, exact=True, upscale=wish
    )
    with progress_bar("enlarging") as note:
        made = engine.render(request, on_step=note)
    height, width = made.pixels.shape[:2]
    text = picture_text(params, made, engine.model, library, Extent(width, height))
    write_picture(
        PictureFile(values=np.ascontiguousarray(made.pixels[..., 2::-1])), args.output, text
    )
    for failure in made.failures:
        sys.stderr.write(f"warning: {failure}\n")
    sys.stderr.write(f"{args.output}: {width} x {height} px on {engine.device}\n")
    return 0
