"""Fields and tiles of a message about batches enter, and the message leaves."""

from __future__ import annotations

from .errors import MalformedMessage
from .fields import Fields
from .limits import MAX_BATCH_PICTURES, MAX_BATCHES, Limits
from .messages import (
    BatchPhase,
    BatchPicture,
    BatchState,
    CancelBatch,
    Generate,
    Message,
    OrderBatches,
)
from .params_codec import params_from_json, upscale_from_json
from .pixels import Tile

__all__ = [
    "read_batch_picture",
    "read_batch_state",
    "read_cancel_batch",
    "read_generate",
    "read_order_batches",
]


def read_generate(f: Fields, _t: tuple[Tile, ...], _m: bool, limits: Limits) -> Message:
    return Generate(
        batch_id=f.integer("batch_id", 1),
        count=f.integer("count", 1, MAX_BATCH_PICTURES),
        params=params_from_json(f.part("params"), limits),
        upscale=upscale_from_json(f.optional_part("upscale")),
        looks=f.flag("looks", missing=False),
        plane=f.text("plane", 64, missing=""),
    )


def read_cancel_batch(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return CancelBatch(batch_id=f.integer("batch_id", 1))


def read_order_batches(f: Fields, _t: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    return OrderBatches(batch_ids=f.counters("batch_ids", MAX_BATCHES))


def read_batch_state(f: Fields, tiles: tuple[Tile, ...], _m: bool, _l: Limits) -> Message:
    try:
        state = BatchPhase(f.text("state", 32))
    except ValueError:
        raise MalformedMessage("A batch is in an unknown state.") from None
    return BatchState(
        batch_id=f.integer("batch_id", 1),
        state=state,
        done=f.integer("done", 0, MAX_BATCH_PICTURES),
        step=f.integer("step", 0, 1_000_000),
        steps=f.integer("steps", 0, 1_000_000),
        left_s=f.ratio("left_s", 1e9),
        sentence=f.text("sentence", 4096),
        action=f.text("action", 4096),
        tiles=tiles,
    )


def read_batch_picture(f: Fields, tiles: tuple[Tile, ...], more: bool, _l: Limits) -> Message:
    return BatchPicture(
        batch_id=f.integer("batch_id", 1),
        index=f.integer("index", 0, MAX_BATCH_PICTURES - 1),
        extent=f.extent("extent"),
        area=f.bounds("area"),
        seed=f.integer("seed"),
        num_inference_steps=f.integer("num_inference_steps"),
        sampler=f.text("sampler", 64),
        tiles=tiles,
        more=more,
    )
