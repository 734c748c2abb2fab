"""What frames free is used again by the next one, and goes back when nobody paints."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MANY_FRAMES = """
import json, resource, sys
import numpy as np
import psutil
from nijimi_backend.session.memory import give_memory_back, keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else None
MIB = 2**20

def frame():
    # As a network's layers do: the next one is there before the last one goes.
    before = np.ones(48 * MIB, np.uint8)
    after = np.ones(64 * MIB, np.uint8)

frame()
began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    frame()
faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began) / 10
held = psutil.Process().memory_info().rss
give_memory_back()
left = psutil.Process().memory_info().rss
print(json.dumps({"kept": kept, "faults": faults, "given_mib": (held - left) / MIB}))
"""


def told(how: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", MANY_FRAMES, how], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told how")
def test_freed_memory_is_used_again_and_given_back_when_asked() -> None:
    usual, kept = told("usual"), told("kept")
    assert kept["kept"] is True
    # 112 MiB are some 28,000 pages.
    assert usual["faults"] > 1000
    assert kept["faults"] < 0.02 * usual["faults"]
    assert kept["given_mib"] > 80
