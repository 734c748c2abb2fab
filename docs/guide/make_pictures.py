"""Nothing enters; the pictures of the guide leave, taken in real Krita.

``python docs/guide/make_pictures.py``: a sketch is painted with a real pointer, and each thing that
the guide tells of is done. Run it again whenever the docker looks different.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "installer"), str(ROOT)]

from nijimi_installer.demo import CANVAS_PX, DEMO_VALUES, paint_sketch  # noqa: E402
from nijimi_installer.desktop.krita_process import DRIVER_DIR, KritaProcess  # noqa: E402
from nijimi_installer.sketch import sketch_strokes  # noqa: E402

from benchmarks.painting import krita_with_docker  # noqa: E402

_STEPS = DRIVER_DIR / "steps.py"
_NIJIMI = DRIVER_DIR / "nijimi_steps.py"
_TESTS = ROOT / "tests" / "krita"
_INSIDE = _TESTS / "inside.py"
_GENERATE = _TESTS / "inside_generate.py"
_CONTROLS = _TESTS / "inside_controls.py"

_WIDTH_PX = 1000
"""Of a picture in the guide, at most."""


class Guide:
    """A Krita in which the guide is played."""

    def __init__(self, krita: KritaProcess, folder: Path) -> None:
        self._krita = krita
        self._folder = folder

    def do(self, where: Path, step: str, /, **arguments: Any) -> Any:
        return self._krita.call(where, step, **arguments)

    def click(self, widget: str) -> None:
        self._krita.pointer.click(tuple(self.do(_GENERATE, "centre", name=f"nijimi_{widget}")))

    def keep(self, name: str) -> None:
        """The screen as it is, small enough for a page."""
        path = self._folder / f"{name}.png"
        self.do(_STEPS, "screenshot", path=str(path))
        with Image.open(path) as shot:
            height = round(shot.height * _WIDTH_PX / shot.width)
            small = shot.convert("RGB").resize((_WIDTH_PX, height), Image.Resampling.LANCZOS)
        small.save(HERE / f"{name}.jpg", quality=85, optimize=True)
        sys.stdout.write(f"{name}.jpg\n")

    def play(self) -> None:
        self.do(_STEPS, "new_document", width=CANVAS_PX, height=CANVAS_PX)
        self.do(_NIJIMI, "set_values", **DEMO_VALUES)
        self.do(_NIJIMI, "wait_until_ready", timeout_s=120)
        paint_sketch(self._krita, sketch_strokes())
        self.do(_NIJIMI, "wait_until_shown", timeout_s=60)
        self.keep("live")
        self.do(_INSIDE, "select", x=250, y=90, width=200, height=180)
        self.do(_NIJIMI, "set_values", prompt="a tree", inpaint_mode="fill")
        time.sleep(1.0)
        self.do(_NIJIMI, "wait_until_shown", timeout_s=60)
        self.keep("selection")
        self.do(_INSIDE, "deselect")
        self.do(_NIJIMI, "set_values", live=False, prompt=DEMO_VALUES["prompt"], area="whole")
        self.do(_NIJIMI, "set_values", batch_count=3, final_steps=8, area="selection")
        self.click("generate")
        self._wait("results", 3)
        self._krita.pointer.click(tuple(self.do(_GENERATE, "thumbnail", number=1)))
        time.sleep(0.6)
        self.keep("generate")
        self.do(_GENERATE, "float_preview")
        self.click("view_compare")
        self._krita.pointer.click(tuple(self.do(_GENERATE, "thumbnail", number=1)))
        time.sleep(0.8)
        self.keep("compare")
        self.do(_GENERATE, "close_preview")
        self._pose()

    def _pose(self) -> None:
        """A person from the words and the joints alone."""
        self.do(_STEPS, "close_documents")
        self.do(_STEPS, "new_document", width=CANVAS_PX, height=CANVAS_PX)
        prompt = "a girl with long brown hair in a red dress waving, on green hills at noon"
        self.do(_NIJIMI, "set_values", prompt=prompt, strength=1.0, overlay_opacity=0.8, live=True)
        self.do(_CONTROLS, "add_person", preset="waving")
        self.do(_NIJIMI, "wait_until_shown", timeout_s=60)
        self.keep("pose")

    def _wait(self, name: str, count: int) -> None:
        end = time.monotonic() + 120
        while len(self.do(_GENERATE, name)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{name} never came to {count}")
            time.sleep(0.2)


def main() -> None:
    with krita_with_docker("cpu") as krita, tempfile.TemporaryDirectory() as name:
        Guide(krita, Path(name)).play()
        krita.quit()


if __name__ == "__main__":
    main()
