"""A work folder: what is saved is found again, and training goes on where it stood."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from training.workspace import Log, load_checkpoint, resume, save_checkpoint, save_parts


def test_training_goes_on_where_it_stood(tmp_path: Path) -> None:
    torch.manual_seed(1)
    drawn = torch.rand(4)
    network = torch.nn.Linear(2, 2)
    assert resume(tmp_path / "net.pt", network=network) == 0
    save_parts(tmp_path / "net.pt", 30, network=network)

    torch.manual_seed(1)
    other = torch.nn.Linear(2, 2)
    assert not torch.equal(other.weight, network.weight)
    assert resume(tmp_path / "net.pt", network=other) == 30
    assert torch.equal(other.weight, network.weight)
    # The same seed, but not the same examples over again.
    assert not torch.equal(torch.rand(4), drawn)


def test_a_save_that_was_cut_off_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"step": 1})
    # What an interrupted save leaves.
    path.with_suffix(".tmp").write_bytes(b"half")
    assert load_checkpoint(path) == {"step": 1}
    save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 2}
    assert not path.with_suffix(".tmp").exists()


def test_losses_are_smoothed_and_kept_as_lines(tmp_path: Path) -> None:
    log = Log(tmp_path, "base", 60)
    for step in range(1, 101):
        log.add(step, step * 16, loss=1.0 if step == 1 else 0.0)
    rows = [json.loads(line) for line in (tmp_path / "base.jsonl").read_text().splitlines()]
    assert [(row["step"], row["samples"]) for row in rows] == [(50, 800), (100, 1600)]
    assert 1.0 > rows[0]["loss"] > rows[1]["loss"] > 0.0
    assert not log.is_over
    assert Log(tmp_path, "base", 0).is_over
