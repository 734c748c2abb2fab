"""Names of actions enter; what each is called, and what it does to the docker's values, leaves.

Krita lists them in its shortcut editor under Nijimi, by ``nijimi.action`` beside the package; which
keys they have is the painter's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .settings import (
    AREA_LAYER,
    AREA_SELECTION,
    AREA_WHOLE,
    SHOW_LAYER,
    SHOW_NOTHING,
    SHOW_OVERLAY,
    Settings,
)

__all__ = ["ACTIONS", "SETTING_ACTIONS", "Action"]


class Action(NamedTuple):
    """One entry of the shortcut editor, and of the menu."""

    name: str
    title: str
    tip: str


ACTIONS = (
    Action("nijimi_live", "Live On or Off", "Turn what you paint into a picture while you paint."),
    Action("nijimi_apply", "Apply Picture", "Put the picture into a new layer."),
    Action("nijimi_apply_mask", "Apply with a Mask", "All of it, and a mask to paint its edges."),
    Action("nijimi_apply_replacing", "Apply in Place of the Last", "It keeps its masks and place."),
    Action("nijimi_generate", "Generate Pictures", "Finished pictures of the canvas as it is."),
    Action("nijimi_upscale", "Upscale", "A larger picture of the canvas as it is."),
    Action("nijimi_animation", "Render Animation", "Frame after frame, into an animated layer."),
    Action("nijimi_cancel", "Cancel Generating", "Give up what is generated or waits."),
    Action("nijimi_new_seed", "Another Seed", "Another variation of the same thing."),
    Action("nijimi_lock_seed", "Keep or Loosen Seed", "Whether Apply takes another seed."),
    Action("nijimi_stronger", "Stronger", "Let the picture leave your drawing further: 5 %."),
    Action("nijimi_weaker", "Weaker", "Keep the picture closer to your drawing: 5 %."),
    Action("nijimi_more_steps", "More Steps", "One step more: better and slower."),
    Action("nijimi_fewer_steps", "Fewer Steps", "One step fewer: quicker."),
    Action("nijimi_refine", "Refine at Rest On or Off", "Whether a rested picture is refined."),
    Action("nijimi_more_visible", "Picture More Visible", "Show the picture stronger: 10 %."),
    Action("nijimi_less_visible", "Picture Less Visible", "Show the picture weaker: 10 %."),
    Action("nijimi_peek", "Picture On or Off the Canvas", "Look at your own painting, and back."),
    Action("nijimi_show_layer", "Picture as Preview Layer", "A locked layer of the document."),
    Action("nijimi_area_selection", "Area: Selection", "Repaint what is selected."),
    Action("nijimi_area_whole", "Area: Whole Picture", "Repaint everything, selection or not."),
    Action("nijimi_area_layer", "Area: Active Layer", "Repaint what the active layer covers."),
    Action("nijimi_person", "Add a Person", "A standing person, in the pose layer."),
    Action("nijimi_find_people", "Find People", "Those in the canvas or selection, as a pose."),
    Action("nijimi_select_person", "Select a Person", "All joints: move, turn or scale them."),
    Action("nijimi_mirror_person", "Mirror a Person", "Left becomes right, in place."),
    Action("nijimi_prompt", "Write the Prompt", "Bring the docker up, and the cursor into it."),
    Action("nijimi_preview", "Preview On or Off", "The docker in which to look closely."),
    Action("nijimi_retry", "Start the Backend Again", "After something went wrong."),
    Action("nijimi_set_up", "Set Up Nijimi", "Where the backend is, and what it paints with."),
    Action("nijimi_report", "Report", "What is installed and what is wrong, to hand on."),
)


def _toggle(name: str) -> Callable[[Settings], None]:
    return lambda settings: settings.set(name, not settings.get(name))


def _add(name: str, step: float, least: float, most: float) -> Callable[[Settings], None]:
    def change(settings: Settings) -> None:
        value = settings.get(name)
        wanted = round(min(most, max(least, value + step)), 2)
        settings.set(name, type(value)(wanted))

    return change


def _choose(name: str, value: str) -> Callable[[Settings], None]:
    return lambda settings: settings.set(name, value)


def _peek(settings: Settings) -> None:
    is_hidden = settings.get("show_on_canvas") == SHOW_NOTHING
    settings.set("show_on_canvas", SHOW_OVERLAY if is_hidden else SHOW_NOTHING)


SETTING_ACTIONS: dict[str, Callable[[Settings], None]] = {
    "nijimi_live": _toggle("live"),
    "nijimi_new_seed": Settings.new_seed,
    "nijimi_lock_seed": _toggle("seed_locked"),
    "nijimi_stronger": _add("strength", 0.05, 0.0, 1.0),
    "nijimi_weaker": _add("strength", -0.05, 0.0, 1.0),
    "nijimi_more_steps": _add("num_inference_steps", 1, 1, 50),
    "nijimi_fewer_steps": _add("num_inference_steps", -1, 1, 50),
    "nijimi_refine": _toggle("refine"),
    "nijimi_more_visible": _add("overlay_opacity", 0.1, 0.05, 1.0),
    "nijimi_less_visible": _add("overlay_opacity", -0.1, 0.05, 1.0),
    "nijimi_peek": _peek,
    "nijimi_show_layer": _choose("show_on_canvas", SHOW_LAYER),
    "nijimi_area_selection": _choose("area", AREA_SELECTION),
    "nijimi_area_whole": _choose("area", AREA_WHOLE),
    "nijimi_area_layer": _choose("area", AREA_LAYER),
}
"""Those that only change a value; the others need the rest of the docker."""
