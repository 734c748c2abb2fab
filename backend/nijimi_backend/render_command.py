"""A prompt and perhaps a picture enter on the command line; a PNG leaves, by the live engine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.limits import Limits
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image, UnidentifiedImageError

from .engine.request import FrameRequest, Pixels
from .errors import BadImage, BadInput

__all__ = ["add_arguments", "read_canvas", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", help="name or folder of a model")
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative", default="", help="what should not be there (guidance > 1)")
    parser.add_argument("--image", type=Path, default=None, help="start from this picture")
    parser.add_argument("--strength", type=float, default=0.6, help="0 keeps the picture, 1 none")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--size", default="", help="WIDTHxHEIGHT; default: the picture's, or native"
    )
    parser.add_argument("-o", "--output", type=Path, required=True)


def run(args: argparse.Namespace) -> int:
    """Render and write the PNG, whole or not at all."""
    extent = _parse_size(args.size) if args.size else None
    params = RenderParams(
        prompt=args.prompt,
        negative_prompt=args.negative,
        strength=args.strength,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        seed=args.seed,
        mode=RenderMode.IMG2IMG if args.image else RenderMode.TXT2IMG,
    )
    try:
        params.checked(Limits())
        if extent is not None:
            Limits().check_extent(extent)
    except RejectedChange as error:
        raise BadInput(error.sentence, error.action) from None
    if args.output.is_dir():
        raise BadInput(f"{args.output} is a folder.", "Name a file to write, e.g. out.png.")
    if not args.output.parent.is_dir():
        raise BadInput(f"The folder {args.output.parent} does not exist.", "Create it first.")
    canvas = read_canvas(args.image) if args.image else None

    # Imported only now: bad options are told at once, torch takes seconds.
    from .engine.engine import open_engine

    engine = open_engine(args.model, args.models_dir, args.device, _show_loading)
    if extent is None:
        side = engine.model.native_px
        extent = (
            Extent(canvas.shape[1], canvas.shape[0]) if canvas is not None else Extent(side, side)
        )
    if canvas is not None and (canvas.shape[1], canvas.shape[0]) != tuple(extent):
        canvas = _scaled(canvas, extent)
    request = FrameRequest(params=params, extent=extent, canvas=canvas)
    picture = engine.render(request, on_step=_show_step)
    rgb = np.ascontiguousarray(picture.pixels[..., 2::-1])
    image = Image.fromarray(rgb)
    if image.size != tuple(extent):
        image = image.resize((extent.width, extent.height), Image.Resampling.LANCZOS)
    _save(image, args.output)
    sys.stderr.write(
        f"{args.output}: {extent.width} x {extent.height} px, seed {args.seed}, "
        f"{picture.num_inference_steps} steps in {picture.model_ms:.0f} ms on {engine.device}\n"
    )
    return 0


def _save(image: Image.Image, output: Path) -> None:
    """The whole file or none."""
    beside = output.with_name(output.name + ".part")
    try:
        image.save(beside, "PNG")
        beside.replace(output)
    except OSError as error:
        if beside.is_file():
            beside.unlink()
        raise BadInput(
            f"{output} cannot be written ({error.strerror or error}).",
            "Name a file in a folder that you may write to, on a disk with room.",
        ) from error


def read_canvas(path: Path) -> Pixels:
    """A picture file as BGRA, H x W x 4. Raises ``BadImage``."""
    limits = Limits()
    try:
        with Image.open(path) as image:
            if (
                max(image.size) > limits.max_side_px
                or image.width * image.height > limits.max_pixels
            ):
                raise BadImage(
                    f"{path} is {image.width} x {image.height} px, which is too large.",
                    f"Scale it to at most {limits.max_side_px} px a side.",
                )
            rgba = np.asarray(image.convert("RGBA"))
    except FileNotFoundError:
        raise BadImage(f"There is no file {path}.", "Check the path.") from None
    except Image.DecompressionBombError:
        raise BadImage(
            f"{path} is far too large.", f"Scale it to at most {limits.max_side_px} px a side."
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"{path} cannot be read as a picture ({error}).", "Use a PNG.") from None
    return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])


def _scaled(canvas: Pixels, extent: Extent) -> Pixels:
    image = Image.fromarray(canvas).resize((extent.width, extent.height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _parse_size(text: str) -> Extent:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise BadInput(f"{text!r} is no size.", "Write it like 512x384.")
    return Extent(int(parts[0]), int(parts[1]))


def _show_loading(label: str, done: int, total: int) -> None:
    sys.stderr.write(f"loading: {label} ({done}/{total})\n")


def _show_step(done: int, total: int) -> None:
    sys.stderr.write(f"step {done}/{total}\n")
