"""The whole training in one command: every step is one that there is, and all time is given."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from training.whole import STEPS, Step, command_of


def test_all_of_the_time_is_shared_out() -> None:
    assert sum(step.share for step in STEPS) == pytest.approx(1.0)
    assert len({step.name for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_takes_what_it_is_given(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = command_of(step, work=tmp_path, minutes=10, batch=64, threads=2, seed=3)
    _, dash, module, *given = command
    assert dash == "-m"
    # The help comes after all that stands before it was read.
    monkeypatch.setattr("sys.argv", [module, *given, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main()
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for option in given:
        assert not option.startswith("--") or option in told
