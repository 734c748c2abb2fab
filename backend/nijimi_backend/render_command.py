"""A prompt and perhaps a picture enter on the command line; a PNG leaves, by the live engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nijimi_protocol.errors import RejectedChange
from nijimi_protocol.geometry import Extent
from nijimi_protocol.inpaint import InitialFill, InpaintMode, InpaintParams
from nijimi_protocol.limits import Limits
from nijimi_protocol.openpose import openpose_people
from nijimi_protocol.params import SAMPLERS, SCHEDULES, RenderMode, RenderParams
from nijimi_protocol.picture_info import params_from_info

from .engine.request import REGION, Control
from .errors import BadInput
from .models.library import Library, open_library
from .picture_files import PictureFile, read_info, read_mask, read_picture, write_picture
from .picture_text import picture_text
from .session.memory import keep_freed_memory
from .terminal import progress_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", help="name or folder of a model")
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument(
        "--models-from", type=Path, action="append", default=[], metavar="DIR",
        help="a folder of ComfyUI, A1111 or Forge to read models from, too; may be given again",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--prompt", default=None, help="what it shall be; see README for the words")
    parser.add_argument(
        "--like", type=Path, default=None, metavar="PNG",
        help="prompt, seed and settings of a picture by Nijimi or a web UI; --prompt goes first",
    )  # fmt: skip
    parser.add_argument("--negative", default="", help="what should not be there (guidance > 1)")
    parser.add_argument("--image", type=Path, default=None, help="start from this picture")
    parser.add_argument("--strength", type=float, default=0.6, help="0 keeps the picture, 1 none")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sampler", choices=SAMPLERS, default="auto")
    parser.add_argument("--schedule", choices=SCHEDULES, default="auto")
    parser.add_argument("--eta", type=float, default=0.0, help="fresh noise of DDIM; TCD's gamma")
    parser.add_argument("--guidance-rescale", type=float, default=0.0)
    parser.add_argument(
        "--clip-skip", type=int, default=0, help="the text's layer from the end; 0: the model's own"
    )
    parser.add_argument("--vae", default="", help="a VAE's name, in place of the model's own")
    parser.add_argument("--second-prompt", default="", help="blended in by --blend-prompts")
    parser.add_argument("--blend-prompts", type=float, default=0.0, metavar="PART")
    parser.add_argument(
        "--size", default="", help="WIDTHxHEIGHT; default: the picture's, or native"
    )
    parser.add_argument("--mask", type=Path, default=None, help="repaint only where it is white")
    parser.add_argument(
        "--inpaint",
        choices=[mode.value for mode in InpaintMode],
        default="auto",
        help="what to do with the masked part",
    )
    parser.add_argument("--fill", choices=[fill.value for fill in InitialFill], default="none")
    parser.add_argument("--grow", type=int, default=8, metavar="PX")
    parser.add_argument("--feather", type=int, default=0, metavar="PX")
    parser.add_argument("--blend", type=int, default=8, metavar="PX")
    parser.add_argument("--context", type=int, default=0, metavar="PX", help="0 chooses by rule")
    parser.add_argument("--no-poisson", action="store_true", help="one colour shift for all")
    parser.add_argument("--no-match", action="store_true", help="do not match colours to the edge")
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="KIND=FILE[:SCALE]",
        help="steer by a hint: pose=people.json, scribble=lines.png:0.8; may be given again",
    )
    parser.add_argument(
        "--control-from",
        action="append",
        default=[],
        metavar="KIND=FILE[:SCALE]",
        help="the same, but make the hint from a picture: canny=photo.png",
    )
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="MASK=PROMPT",
        help="words that count only where a mask is white; of several the first lies on top",
    )
    parser.add_argument("-o", "--output", type=Path, required=True)


def run(args: argparse.Namespace) -> int:
    """Render and write the PNG, whole or not at all."""
    keep_freed_memory()
    extent = _parse_size(args.size) if args.size else None
    if args.prompt is None and args.like is None:
        raise BadInput("There is no prompt.", "Give one with --prompt, or a picture with --like.")
    params = RenderParams(
        prompt=args.prompt or "",
        negative_prompt=args.negative,
        strength=args.strength,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        seed=args.seed,
        sampler=args.sampler,
        schedule=args.schedule,
        eta=args.eta,
        guidance_rescale=args.guidance_rescale,
        clip_skip=args.clip_skip,
        vae=args.vae,
        second_prompt=args.second_prompt,
        prompt_blend=args.blend_prompts,
        mode=_mode_of(args),
        inpaint=InpaintParams(
            mode=InpaintMode(args.inpaint),
            initial_fill=InitialFill(args.fill),
            grow_px=args.grow,
            feather_px=args.feather,
            blend_px=args.blend,
            context_px=args.context,
            match_colours=not args.no_match,
            poisson=not (args.no_poisson or args.no_match),
        ),
    )
    if args.like is not None:
        params = _like(args, params)
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
    source = read_picture(args.image) if args.image else None
    mask = read_mask(args.mask) if args.mask else None
    controls = (*_controls(args, extent, source), *_regions(args))
    if mask is not None and extent is not None:
        raise BadInput("A masked picture keeps its size.", "Leave --size out.")

    # Imported only now: bad options are told at once, torch takes seconds.
    from .engine.engine import open_engine
    from .picture_renderer import PictureRenderer

    library = open_library(args.models_dir, args.models_from)
    name = args.model or _present(params.model, library)
    with progress_bar("loading") as note:
        engine = open_engine(name, args.models_dir, args.device, lambda _, *at: note(*at), library)
    renderer = PictureRenderer(engine)
    with progress_bar("rendering") as note:
        result = renderer.render(params, source, mask, extent, note, controls)
    made, (height, width) = renderer.last, result.values.shape[:2]
    assert made is not None
    text = picture_text(params, made, engine.model, library, Extent(width, height))
    write_picture(result, args.output, text)
    for failure in made.failures:
        sys.stderr.write(f"warning: {failure}\n")
    sys.stderr.write(
        f"{args.output}: {width} x {height} px, seed {args.seed}, "
        f"{made.num_inference_steps} steps in {made.model_ms:.0f} ms on {engine.device}\n"
    )
    return 0


def _like(args: argparse.Namespace, params: RenderParams) -> RenderParams:
    """The settings that a picture carries; what makes no sense with the rest stays ours."""
    try:
        found = params_from_info(read_info(args.like), params)
    except ValueError as error:
        raise BadInput(
            f"{args.like} carries no settings ({error}).",
            "Choose a PNG that Nijimi or a web UI made.",
        ) from None
    return found if args.prompt is None else replace(found, prompt=args.prompt)


def _present(name: str, library: Library) -> str:
    """A model that a picture names, if it is here; else the default one, with a word about it."""
    if name and name not in (model.name for model in library.models()):
        sys.stderr.write(f"warning: the picture's model {name} is not here\n")
        return ""
    return name


def _mode_of(args: argparse.Namespace) -> RenderMode:
    if args.mask:
        if not args.image:
            raise BadInput("A mask needs a picture.", "Name one with --image.")
        return RenderMode.INPAINT
    return RenderMode.IMG2IMG if args.image else RenderMode.TXT2IMG


def _controls(
    args: argparse.Namespace, extent: Extent | None, source: PictureFile | None
) -> Iterator[Control]:
    """What the options name, read; a pose is scaled to the picture that is to be made."""
    for n, text in enumerate([*args.control, *args.control_from]):
        kind, separator, rest = text.partition("=")
        name, colon, last = rest.rpartition(":")
        scale = _number(last) if colon else None
        path = Path(name if scale is not None else rest)
        if not separator or not rest:
            raise BadInput(f"{text!r} is no control.", "Write it like scribble=lines.png:0.8.")
        if scale is not None and not 0.0 <= scale <= 2.0:
            raise BadInput(f"The control's scale is {scale:g}.", "Choose one from 0 to 2.")
        process = n >= len(args.control)
        base = Control(
            kind=kind, version=n + 1, process=process, scale=1.0 if scale is None else scale
        )
        if kind != "pose" or process:
            yield replace(base, pixels=read_picture(path).canvas)
            continue
        size = extent
        if size is None and source is not None:
            size = Extent(source.values.shape[1], source.values.shape[0])
        if size is None:
            raise BadInput("A pose needs the size of the picture.", "Give --size, e.g. 512x512.")
        try:
            yield replace(base, people=openpose_people(path.read_text("utf-8"), size))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}).", "Name an OpenPose file.") from None
        except RejectedChange as error:
            raise BadInput(f"{path}: {error.sentence}", error.action) from None


def _regions(args: argparse.Namespace) -> Iterator[Control]:
    for n, text in enumerate(args.region):
        name, separator, prompt = text.partition("=")
        if not separator or not name or not prompt.strip():
            raise BadInput(f"{text!r} is no region.", "Write it like left.png=a red house.")
        pixels = read_mask(Path(name))
        yield Control(kind=REGION, pixels=pixels, version=n + 1, id=f"r{n}", prompt=prompt)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parse_size(text: str) -> Extent:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise BadInput(f"{text!r} is no size.", "Write it like 512x384.")
    return Extent(int(parts[0]), int(parts[1]))
