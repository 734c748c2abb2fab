"""What happens enters, mostly as the backend says it; what the painter is told of it leaves."""

from __future__ import annotations

from nijimi_protocol.messages import CONTROL_FAILED, ErrorReport, Message, Progress, Status

from ..model.live_state import LiveState

__all__ = ["NOTHING_SELECTED", "layer_covers_nothing", "note_event"]

NOTHING_SELECTED = (
    "Nothing is selected: live waits.",
    "Select what is to be repainted, or choose Whole picture.",
)


def layer_covers_nothing(name: str) -> tuple[str, str]:
    """The layer that is the mask is empty."""
    return (
        f"The layer {name!r} covers nothing: live waits.",
        "Paint into it, or choose another area.",
    )


def note_event(live_state: LiveState, event: Message, *, has_document: bool) -> None:
    """Note a status, a progress or a failure; anything else says nothing."""
    if isinstance(event, Progress):
        live_state.update(progress=f"{event.label} ({event.done}/{event.total})")
    elif isinstance(event, ErrorReport):
        source = "network" if event.code == CONTROL_FAILED else "backend"
        live_state.tell(source, event.sentence, event.action)
    elif not isinstance(event, Status):
        return
    elif event.state == "ready":
        state = "ready" if has_document else "waiting"
        live_state.update(state=state, device=event.device, model=event.model, progress="")
    elif event.state == "failed":
        live_state.tell("backend", event.text, "Choose another model, or run nijimi doctor.")
    else:
        live_state.update(state="loading", device=event.device)
