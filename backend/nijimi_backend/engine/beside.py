"""Two networks enter; their work on a graphics card leaves, side by side as far as it can be.

What a ControlNet adds is needed only after the UNet's encoder (Zhang et al., arXiv 2302.05543,
figure 3), and neither fills a fast card at batch 1. So the ControlNet works on a stream of its
own, and the UNet waits for it behind the last block that goes down. That gains nothing where each
kernel is started by itself, as starting them is what takes time then: it is for recorded work,
where the two branches are branches of the graph.

Written without a card at hand.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch

__all__ = ["Beside", "Streams", "cuda_streams"]


class Streams(Protocol):
    """What is needed of a device: a second stream, and that one waits for the other."""

    def second(self) -> AbstractContextManager[Any]:
        """Within, work is given to the second stream."""
        ...

    def second_waits(self) -> None: ...

    def first_waits(self) -> None: ...


class Beside:
    """Work apart, and where it is waited for. For one thread, and one network at a time."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._is_awaited = False

    @contextmanager
    def apart(self) -> Generator[None]:
        """What is begun within runs beside what comes after it; it may read all there is now."""
        self._streams.second_waits()
        self._is_awaited = True
        with self._streams.second():
            yield

    @contextmanager
    def joined_after(self, block: torch.nn.Module) -> Generator[None]:
        """Within, whoever has passed ``block`` may read what was begun apart; and so may all that
        comes after this, also where the block was never passed."""
        hook = block.register_forward_hook(lambda *_: self._join())
        try:
            yield
        finally:
            hook.remove()
            self._join()

    def _join(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._streams.first_waits()


class _CudaStreams:
    """The current stream, and one of its own."""

    def __init__(self) -> None:
        self._second = torch.cuda.Stream()

    def second(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._second)

    def second_waits(self) -> None:
        self._second.wait_stream(torch.cuda.current_stream())

    def first_waits(self) -> None:
        torch.cuda.current_stream().wait_stream(self._second)


def cuda_streams() -> Streams:
    """Memory that the second stream takes is given again only to that stream, which waits for the
    first one before each piece of work: so nothing is overwritten that is still read."""
    return _CudaStreams()
