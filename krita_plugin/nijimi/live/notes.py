"""What happens enters, mostly as the backend says it; what the painter is told of it leaves."""

from __future__ import annotations

from nijimi_protocol.messages import CONTROL_FAILED, ErrorReport, Message, Progress, Status

from ..model.live_state import LiveState
from ..texts import told, tr

__all__ = ["layer_covers_nothing", "note_event", "nothing_selected"]


def nothing_selected() -> tuple[str, str]:
    """The selection is gone."""
    return (
        tr("Nothing is selected: live waits."),
        tr("Select what is to be repainted, or choose Whole picture."),
    )


def layer_covers_nothing(name: str) -> tuple[str, str]:
    """The layer that is the mask is empty."""
    return (
        tr("The layer '{name}' covers nothing: live waits.", name=name),
        tr("Paint into it, or choose another area."),
    )


def note_event(live_state: LiveState, event: Message, *, has_document: bool, revision: int) -> None:
    """Note a status, a progress or a failure; anything else says nothing.

    ``revision``: the newest change, whose a failure is that names none (a model cannot be loaded).
    """
    if isinstance(event, Progress):
        live_state.update(progress=f"{event.label} ({event.done}/{event.total})")
    elif isinstance(event, ErrorReport):
        source = "network" if event.code == CONTROL_FAILED else "backend"
        live_state.tell(
            source, told(event.code, event.sentence), event.action,
            revision=event.revision or revision,
        )  # fmt: skip
    elif not isinstance(event, Status):
        return
    elif event.state == "ready":
        state = "ready" if has_document else "waiting"
        live_state.update(state=state, device=event.device, model=event.model, progress="")
    elif event.state == "failed":
        advice = tr("Choose another model, or run nijimi doctor.")
        live_state.tell("backend", event.text, advice, revision=revision)
    else:
        live_state.update(state="loading", device=event.device)
