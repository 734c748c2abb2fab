"""Hypothesis strategies: nothing enters; valid values of the protocol's types leave."""

from __future__ import annotations

from hypothesis import strategies as st
from nijimi_protocol.geometry import Bounds, Extent
from nijimi_protocol.inpaint import MAX_REACH_PX, InitialFill, InpaintMode, InpaintParams
from nijimi_protocol.limits import Limits
from nijimi_protocol.messages import (
    Ack,
    BatchPhase,
    BatchPicture,
    BatchState,
    Cancel,
    CancelBatch,
    ControlLayer,
    DropPlane,
    ErrorReport,
    Frame,
    Generate,
    Hello,
    Message,
    ModelEntry,
    OrderBatches,
    Progress,
    SetControls,
    SetParams,
    SetPlane,
    SetPose,
    Status,
    UpdateTiles,
    Welcome,
)
from nijimi_protocol.params import SAMPLERS, SCHEDULES, RenderMode, RenderParams
from nijimi_protocol.pixels import Encoding, PixelFormat, Tile, pack_tile
from nijimi_protocol.pose import Joint, Person
from nijimi_protocol.upscale import UpscaleParams

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
revisions = st.integers(1, 2**53 - 1)
extents = st.builds(Extent, st.integers(1, 200), st.integers(1, 200))
bounds = st.builds(
    Bounds,
    st.integers(-300, 300),
    st.integers(-300, 300),
    st.integers(0, 300),
    st.integers(0, 300),
)
ratios = st.floats(0, 1, width=32)


@st.composite
def tiles(draw: st.DrawFn, format: PixelFormat = PixelFormat.BGRA8) -> Tile:
    area = Bounds(
        draw(st.integers(0, 100)),
        draw(st.integers(0, 100)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 6)),
    )
    size = area.width * area.height * format.bytes_per_pixel
    pixels = draw(st.binary(min_size=size, max_size=size))
    return pack_tile(area, format, pixels, draw(st.sampled_from([Encoding.RAW, Encoding.ZLIB])))


joints = st.builds(
    Joint,
    st.integers(-99999, 99999).map(lambda n: n / 100),
    st.integers(-99999, 99999).map(lambda n: n / 100),
    st.integers(0, 100).map(lambda n: n / 100),
)


def _part(count: int) -> st.SearchStrategy[tuple[Joint, ...]]:
    return st.one_of(st.just(()), st.tuples(*[joints] * count))


people = st.builds(
    Person, body=st.tuples(*[joints] * 18), left_hand=_part(21), right_hand=_part(21)
)

upscales = st.builds(
    UpscaleParams,
    factor=st.floats(1.0, 4.0),
    model=st.text(st.characters(codec="utf-8"), max_size=20),
    strength=st.floats(0.0, 1.0),
)

params = st.builds(
    RenderParams,
    prompt=texts,
    negative_prompt=texts,
    strength=ratios,
    num_inference_steps=st.integers(1, 100),
    guidance_scale=st.floats(0, 30, width=32),
    seed=st.integers(0, 2**32 - 1),
    mode=st.sampled_from(RenderMode),
    model=names,
    live=st.booleans(),
    refine=st.booleans(),
    sampler=st.sampled_from(SAMPLERS),
    schedule=st.sampled_from(SCHEDULES),
    eta=ratios,
    guidance_rescale=ratios,
    clip_skip=st.integers(0, 12),
    vae=names,
    second_prompt=texts,
    prompt_blend=ratios,
    inpaint=st.builds(
        InpaintParams,
        mode=st.sampled_from(InpaintMode),
        initial_fill=st.sampled_from(InitialFill),
        grow_px=st.integers(0, MAX_REACH_PX),
        feather_px=st.integers(0, MAX_REACH_PX),
        blend_px=st.integers(0, MAX_REACH_PX),
        context_px=st.integers(0, MAX_REACH_PX),
        context=st.none() | st.builds(Bounds, *[st.integers(1, 5000)] * 4),
        match_colours=st.booleans(),
        poisson=st.booleans(),
    ),
)

controls = st.builds(
    ControlLayer,
    id=names,
    kind=names,
    plane=names,
    control_scale=st.floats(0, 2, width=32),
    start=ratios,
    end=ratios,
    enabled=st.booleans(),
    process=st.booleans(),
    prompt=texts,
    region=names,
)

_encodings = st.lists(st.sampled_from(Encoding), max_size=3).map(tuple)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello,
        token=texts,
        client=texts,
        protocol=st.integers(1, 9),
        min_protocol=st.integers(1, 9),
        encodings=_encodings,
        max_message_bytes=st.integers(65536, 2**31),
    ),
    st.builds(
        SetPlane,
        revision=revisions,
        plane=names,
        extent=extents,
        format=st.sampled_from(PixelFormat),
    ),
    st.builds(DropPlane, revision=revisions, plane=names),
    st.builds(
        UpdateTiles,
        revision=revisions,
        plane=names,
        tiles=st.lists(tiles(), max_size=4).map(tuple),
        more=st.booleans(),
    ),
    st.builds(SetControls, revision=revisions, controls=st.lists(controls, max_size=4).map(tuple)),
    st.builds(
        SetPose, revision=revisions, id=names, people=st.lists(people, max_size=2).map(tuple)
    ),
    st.builds(SetParams, revision=revisions, params=params),
    st.builds(Ack, frame_id=st.integers(0, 2**53 - 1)),
    st.just(Cancel()),
    st.builds(
        Generate,
        batch_id=revisions,
        count=st.integers(1, 16),
        params=params,
        upscale=st.none() | upscales,
        looks=st.booleans(),
        plane=names,
    ),
    st.builds(CancelBatch, batch_id=revisions),
    st.builds(OrderBatches, batch_ids=st.lists(revisions, max_size=16).map(tuple)),
    st.builds(
        BatchState,
        batch_id=revisions,
        state=st.sampled_from(BatchPhase),
        done=st.integers(0, 16),
        step=st.integers(0, 1000),
        steps=st.integers(0, 1000),
        left_s=st.floats(0, 1e6),
        sentence=texts,
        action=texts,
        tiles=st.lists(tiles(), max_size=1).map(tuple),
    ),
    st.builds(
        BatchPicture,
        batch_id=revisions,
        index=st.integers(0, 15),
        extent=extents,
        area=bounds,
        tiles=st.lists(tiles(), max_size=4).map(tuple),
        seed=st.integers(0, 2**32 - 1),
        num_inference_steps=st.integers(0, 100),
        sampler=names,
        more=st.booleans(),
    ),
    st.builds(
        Welcome,
        protocol=st.integers(1, 9),
        server=texts,
        device=texts,
        models=st.lists(
            st.builds(
                ModelEntry,
                name=names,
                title=texts,
                family=names,
                native_px=st.integers(0, 4096),
                kind=st.sampled_from(["checkpoint", "lora", "embedding"]),
                digest=st.sampled_from(["", "0123456789ab"]),
            ),
            max_size=3,
        ).map(tuple),
        encodings=_encodings,
        capabilities=st.lists(names, max_size=4).map(tuple),
        limits=st.builds(Limits, max_planes=st.integers(1, 64)),
    ),
    st.builds(Status, state=names, device=texts, model=texts, text=texts),
    st.builds(
        Frame,
        frame_id=revisions,
        base_frame_id=st.integers(0, 2**53 - 1),
        revision=revisions,
        extent=extents,
        area=bounds,
        tiles=st.lists(tiles(), max_size=4).map(tuple),
        seed=st.integers(0, 2**32 - 1),
        num_inference_steps=st.integers(0, 100),
        final=st.booleans(),
        model_ms=st.floats(0, 1e6),
        timings_ms=st.dictionaries(names, st.floats(0, 1e6), max_size=4),
    ),
    st.builds(Progress, label=texts, done=st.integers(0, 10**9), total=st.integers(0, 10**9)),
    st.builds(
        ErrorReport,
        code=names,
        sentence=texts,
        action=texts,
        revision=st.integers(0, 10**9),
        fatal=st.booleans(),
    ),
)
