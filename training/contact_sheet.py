"""An exported model enters; one picture of what it can do leaves.

``python -m training.contact_sheet -o sheet.png``: held-out sketches at three strengths beside the
true picture, prompts by seeds, selections before and after, an arm that is raised by its skeleton,
and scribbles with three seeds beside the pictures that they were taken from.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nijimi_backend.engine.control.hints import make_hint
from nijimi_backend.engine.engine import open_engine
from nijimi_backend.engine.request import Control
from nijimi_backend.picture_files import PictureFile
from nijimi_backend.picture_renderer import PictureRenderer
from nijimi_protocol.params import RenderMode, RenderParams
from PIL import Image, ImageDraw

from .build_data import HELD_OUT_SEED
from .evaluate import has_control
from .export import EMBEDDED
from .scenes import make_example
from .scenes.example import Example
from .train_control import SIZE, people_of

STRENGTHS = (0.3, 0.5, 0.7)
PROMPTS = (
    "a cat on green grass on a sunny day",
    "a red car on a beach at sunset",
    "a girl with long hair in a blue dress waving by the sea",
    "a red house on a green hill at sunset, pine trees, painterly",
)
COLUMNS = len(STRENGTHS) + 2
Pixels = npt.NDArray[np.uint8]


def printed(
    renderer: PictureRenderer,
    params: RenderParams,
    canvas: Image.Image | None = None,
    mask: Pixels | None = None,
    control: Control | None = None,
) -> Image.Image:
    """One picture, from a canvas or from nothing."""
    source = PictureFile(values=np.asarray(canvas.convert("RGB"))) if canvas is not None else None
    controls = (control,) if control else ()
    return Image.fromarray(renderer.render(params, source, mask, controls=controls).values)


def sketch_row(renderer: PictureRenderer, seed: int) -> list[Image.Image]:
    """The sketch, the picture at each strength, and what it was drawn from."""
    example = make_example(seed)
    print(f"{seed}: {example.captions[0]}")
    made = [
        printed(
            renderer,
            RenderParams(prompt=example.captions[0], strength=strength, seed=seed),
            example.sketch,
        )
        for strength in STRENGTHS
    ]
    return [example.sketch, *made, example.picture]


def inpaint_row(renderer: PictureRenderer, seed: int, prompt: str) -> list[Image.Image]:
    """A picture, what is selected, and three seeds of something new there."""
    example = make_example(seed)
    selection = Image.new("L", (256, 256))
    ImageDraw.Draw(selection).ellipse((64, 84, 192, 224), fill=255)
    shown = example.picture.copy()
    shown.paste((255, 255, 255), (0, 0), selection.point([value // 2 for value in range(256)]))
    made = [
        printed(
            renderer,
            RenderParams(prompt=prompt, mode=RenderMode.INPAINT, strength=1.0, seed=n),
            example.picture,
            np.asarray(selection),
        )
        for n in range(COLUMNS - 2)
    ]
    return [example.picture, shown, *made]


def first_person(seed: int) -> Example:
    """The first held-out example from ``seed`` on that has one person alone."""
    while True:
        example = make_example(seed)
        if len(example.people) == 1:
            return example
        seed += 1


def pose_rows(renderer: PictureRenderer, seed: int) -> list[list[Image.Image]]:
    """The skeletons of a left arm that is raised, and what is drawn after them with one seed."""
    example = first_person(seed)
    (person,) = example.people
    hints: list[Image.Image] = []
    made: list[Image.Image] = []
    for n in range(COLUMNS):
        # From hanging down to straight up.
        joints = with_left_arm(person.joints, math.pi / 2 - n * math.pi / (COLUMNS - 1))
        control = Control(kind="pose", people=people_of([joints]))
        hints.append(hint_of(control))
        params = RenderParams(prompt=example.captions[0], mode=RenderMode.TXT2IMG, seed=seed)
        made.append(printed(renderer, params, control=control))
    return [hints, made]


def with_left_arm(joints: Sequence[tuple[float, float]], angle: float) -> list[list[float]]:
    """The same joints, the left arm straight at ``angle`` (0 points right, a quarter turn down)."""
    moved = [list(joint) for joint in joints]
    for before, joint in ((5, 6), (6, 7)):
        length = math.dist(joints[before], joints[joint])
        x, y = moved[before]
        moved[joint] = [x + length * math.cos(angle), y + length * math.sin(angle)]
    return moved


def scribble_row(renderer: PictureRenderer, seed: int) -> list[Image.Image]:
    """Lines of a held-out picture, three seeds after them, and the picture."""
    example = make_example(seed)
    canvas = PictureFile(values=np.asarray(example.picture.convert("RGB"))).canvas
    control = Control(kind="scribble", pixels=canvas, process=True)
    made = [
        printed(
            renderer,
            RenderParams(prompt=example.captions[0], mode=RenderMode.TXT2IMG, seed=n),
            control=control,
        )
        for n in range(COLUMNS - 2)
    ]
    return [hint_of(control), *made, example.picture]


def hint_of(control: Control) -> Image.Image:
    """What the network sees."""
    return Image.fromarray(make_hint(control, SIZE, SIZE.bounds, SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a contact sheet of a model.")
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("-o", "--output", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("--rows", type=int, default=6, help="rows of sketches")
    parser.add_argument("--width", type=int, default=256 * COLUMNS, help="of the sheet, in px")
    args = parser.parse_args()
    engine = open_engine(str(args.model.resolve()))
    renderer = PictureRenderer(engine)
    rows = [sketch_row(renderer, HELD_OUT_SEED + 7 * n) for n in range(args.rows)]
    for prompt in PROMPTS:
        params = [
            RenderParams(prompt=prompt, mode=RenderMode.TXT2IMG, seed=seed)
            for seed in range(COLUMNS)
        ]
        rows.append([printed(renderer, each) for each in params])
    for n, prompt in enumerate(("a cat", "a red balloon")):
        rows.append(inpaint_row(renderer, HELD_OUT_SEED + 500 + n, prompt))
    if has_control(engine, "pose"):
        for n in (20, 60):
            rows += pose_rows(renderer, HELD_OUT_SEED + n)
    if has_control(engine, "scribble"):
        rows += [scribble_row(renderer, HELD_OUT_SEED + 3 + 7 * n) for n in range(3)]
    sheet = Image.new("RGB", (256 * COLUMNS, 256 * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (256 * x, 256 * y))
    if args.width < sheet.width:
        height = round(sheet.height * args.width / sheet.width)
        sheet = sheet.resize((args.width, height), Image.Resampling.LANCZOS)
    sheet.save(args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
