"""A model's name enters; a way of diffusers' own leaves that runs in a process of its own.

As who uses diffusers has it: nothing of ours is in that process, neither our allocator's settings
nor our networks. Only one process computes at a time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from nijimi_backend.models.device import choose_device
from nijimi_backend.models.library import Library

from .engine_shapes import full_autoencoder, in_one_type, shaped
from .engine_ways import Way, diffusers_way

__all__ = ["ways_apart"]


@contextmanager
def ways_apart(
    name: str, steps: int, *, full_vae: bool, types: dict[str, torch.dtype]
) -> Generator[dict[str, Way]]:
    """One way a number type, by its title; the processes end with the context."""
    context = multiprocessing.get_context("spawn")
    ways: dict[str, Way] = {}
    running: list[tuple[BaseProcess, Connection]] = []
    try:
        for title, dtype in types.items():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, name, steps, full_vae, dtype), daemon=True
            )
            process.start()
            theirs.close()
            running.append((process, ours))
            ways[title] = _asking(ours)
        yield ways
    finally:
        for process, ours in running:
            ours.close()
            process.join()


def _asking(connection: Connection) -> Way:
    def run(n: int) -> float:
        connection.send(n)
        return connection.recv()

    return run


def _serve(
    connection: Connection, name: str, steps: int, full_vae: bool, dtype: torch.dtype
) -> None:
    # Nothing is loaded before it is asked for: others may do more where memory is plenty.
    number = connection.recv()
    device = replace(choose_device("auto"), dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        bundle = in_one_type(shaped(name, device, Path(folder)))
        if full_vae and name != "nijimi-mini":
            bundle = replace(bundle, vae=full_autoencoder(device))
        way = diffusers_way(bundle, Library([Path(folder)]), steps, False, plain=False)
        try:
            while True:
                connection.send(way(number))
                number = connection.recv()
        except EOFError:
            return
