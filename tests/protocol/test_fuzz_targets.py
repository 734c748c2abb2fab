"""Inputs that a fuzzer found worth keeping are tried at every run; the long hunt is
``python -m benchmarks fuzz``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .fuzz_targets import TARGETS, first_inputs

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_once_holds(target: str) -> None:
    inputs = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    assert inputs
    for data in (*inputs, *first_inputs(target)):
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_inputs_hold(target: str) -> None:
    chance = random.Random(5)
    inputs = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    for _ in range(1500):
        data = bytearray(chance.choice(inputs))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(3):
                case 0:
                    data[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del data[at : at + chance.randint(1, 8)]
                case _:
                    data[at:at] = chance.randbytes(chance.randint(1, 8))
        TARGETS[target](bytes(data))


def test_the_corpus_is_small() -> None:
    files = list(CORPUS.rglob("*.bin"))
    assert files
    assert sum(path.stat().st_size for path in files) < 200_000
