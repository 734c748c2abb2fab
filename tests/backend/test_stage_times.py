"""What each stage took is told once a minute, and costs no memory."""

from __future__ import annotations

from nijimi_backend.session.stage_times import SUMMARY_S, StageTimes


def test_a_minute_of_frames_becomes_one_summary() -> None:
    times = StageTimes()
    for n in range(60):
        assert times.note({"unet": float(n), "decode": 2.0}, now_s=float(n)) is None
    found = times.note({"unet": 60.0}, now_s=SUMMARY_S)
    assert found == {
        "frames": 61,
        "seconds": 60.0,
        "stages_ms": {"unet": {"p50": 30.0, "p95": 57.0}, "decode": {"p50": 2.0, "p95": 2.0}},
    }
    assert times.note({"unet": 1.0}, now_s=100.0) is None, "a new minute begins"


def test_without_frames_there_is_nothing_to_tell() -> None:
    assert StageTimes().summary(5.0) is None


def test_a_very_quick_minute_takes_no_more_memory() -> None:
    times = StageTimes()
    for _ in range(5000):
        times.note({"unet": 1.0}, now_s=1.0)
    assert len(times._stages["unet"]) == 2000  # pyright: ignore[reportPrivateUsage]
    summary = times.summary(2.0)
    assert summary is not None
    assert summary["frames"] == 5000
