"""Many clients, difficult ones among them: nobody is lost, everybody is served, memory is bounded.

A short run; NIJIMI_SOAK_MINUTES makes it longer, and from five minutes on growth is judged, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.load import LoadReport, bound_mib, load_table, measure

MINUTES = float(os.environ.get("NIJIMI_SOAK_MINUTES", "0.5"))
IS_SOAK = MINUTES >= 5


@pytest.mark.timeout(60 * MINUTES + 240)
def test_a_crowd_is_served_fairly_within_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc")
    monkeypatch.setenv("NIJIMI_LOGS", str(tmp_path / "logs"))
    report = measure(50 if IS_SOAK else 30, 60 * MINUTES)
    print(load_table(report))
    assert report.lost_connections == 0
    assert report.frames > 100
    assert report.unfair < 0.3
    assert report.slowest_s < 30
    assert report.rss_most_mib < report.bound_mib
    if IS_SOAK:
        assert not report.grows


def _report(slope: float, noise: float, step: float = 5.0) -> LoadReport:
    return LoadReport(
        clients=1, seconds=3600.0, kinds={}, frames=1, frames_a_second=1.0, unfair=0.0,
        slowest_s=0.0,
        lost_connections=0, rss_start_mib=1.0, rss_most_mib=100.0, bound_mib=1.0,
        slope_mib_h=slope, noise_mib_h=noise,
        step_mib=step,
    )  # fmt: skip


def test_growth_is_what_is_more_than_noise_and_worth_a_word() -> None:
    assert not _report(40.0, 60.0).grows
    assert not _report(3.0, 0.1).grows, "of 100 MiB, within an hour"
    assert _report(40.0, 10.0).grows
    assert not _report(40.0, 10.0, step=0.3).grows, "once, and then no more"


def test_the_formula_counts_planes_and_clients() -> None:
    assert bound_mib(0, 2**20) == 1.0
    assert bound_mib(10, 0) == pytest.approx(10 * bound_mib(1, 0))


def test_a_leak_is_told_from_memory_that_comes_and_goes() -> None:
    from benchmarks import load

    assert load._step([70.7, 71.0, 70.6, 80.1, 79.6, 80.1]) < 1  # pyright: ignore[reportPrivateUsage]
    assert load._step([70.0, 72.5, 74.0, 77.0, 79.5, 82.0]) > 2  # pyright: ignore[reportPrivateUsage]
    steps = [(75.0 * n, 300.0 + (n * 7) % 5) for n in range(3, 9)]
    slope, noise = load._slope(steps)  # pyright: ignore[reportPrivateUsage]
    assert abs(slope) < noise
    leak = [(at, mib + at * 400 / 3600) for at, mib in steps]
    found, noise = load._slope(leak)  # pyright: ignore[reportPrivateUsage]
    assert found - slope == pytest.approx(400)
    assert found > noise
