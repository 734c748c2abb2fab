"""A live picture to be made enters; it and those of clients that join on the way leave.

On the worker's thread: each round is one denoising step of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from ..engine.request import FrameRequest, Picture
from .jobs import CompanyLike, Job, RenderClient

__all__ = ["MOST_TOGETHER", "rounds"]

MOST_TOGETHER = 8
"""Of a call's rows each picture takes one, or two with a negative prompt."""

More = Callable[[Collection[RenderClient]], tuple[Job, FrameRequest] | None]
"""The next picture that may join, of none of these clients; None: there is none, or somebody waits
who must be served alone."""


def rounds(
    company: CompanyLike,
    first: Job,
    request: FrameRequest,
    more: More,
    should_stop: Callable[[Job], bool],
) -> Iterator[tuple[Job, FrameRequest, Picture | Exception | None]]:
    """Each picture as it ends, with its request; or why there is none, or None: alone, then."""
    running: dict[RenderClient, tuple[Job, FrameRequest]] = {}

    def join(job: Job, wish: FrameRequest) -> None:
        running[job.client] = job, wish
        company.add(job.client, wish, lambda: should_stop(job), job.note)

    join(first, request)
    while running:
        while len(running) < MOST_TOGETHER:
            joined = more(running)
            if joined is None:
                break
            join(*joined)
        for who, outcome in company.advance():
            assert isinstance(who, RenderClient)
            yield *running.pop(who), outcome
