"""The guide, its view of latents and what it asks of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch

from training.guide import Guide, Known, disagreement
from training.judge import CLASSES, MIRRORED
from training.scenes.people import JOINTS

CPU = torch.device("cpu")


def truth_of(subject: int, colour: int, *, has_joints: bool) -> Any:
    joints = torch.linspace(0.1, 0.9, 2 * JOINTS).view(1, JOINTS, 2)
    return cast(
        "Any",
        SimpleNamespace(
            subject=torch.tensor([subject]),
            colour=torch.tensor([colour]),
            has_joints=torch.tensor([has_joints]),
            joints=joints,
        ),
    )


def test_a_mirrored_row_has_its_joints_on_the_other_side() -> None:
    truth = truth_of(0, 0, has_joints=True)
    known = Known(truth, torch.tensor([0, 1]), CPU)
    assert torch.equal(known.joints[0], truth.joints[0])
    assert torch.allclose(known.joints[1, 3, 0], 1 - truth.joints[0, MIRRORED[3], 0])
    assert torch.allclose(known.joints[1, 3, 1], truth.joints[0, MIRRORED[3], 1])
    assert known.subject.tolist() == [0, 0]


def test_nothing_is_asked_where_nothing_is_known() -> None:
    known = Known(truth_of(-1, -1, has_joints=False), torch.tensor([0]), CPU)
    torch.manual_seed(0)
    asked = disagreement(Guide().eval(), torch.randn(1, 4, 32, 32), known)
    assert asked.tolist() == [0.0]


def test_joints_are_asked_for_only_where_they_are_wanted() -> None:
    known = Known(truth_of(-1, -1, has_joints=True), torch.tensor([0]), CPU)
    torch.manual_seed(0)
    guide, latents = Guide().eval(), torch.randn(1, 4, 32, 32)
    assert disagreement(guide, latents, known, joints=False).item() == 0
    assert disagreement(guide, latents, known).item() > 0


def test_latents_that_follow_the_guide_come_to_show_what_was_asked() -> None:
    """Its gradient reaches the latents, and its own weights stay as they are."""
    torch.manual_seed(0)
    guide = Guide().eval().requires_grad_(False)
    asked = CLASSES.index("house")
    known = Known(truth_of(asked, -1, has_joints=False), torch.tensor([0]), CPU)
    latents = torch.randn(1, 4, 32, 32, requires_grad=True)
    optimizer = torch.optim.Adam([latents], lr=0.05)
    before = disagreement(guide, latents, known).item()
    for _ in range(60):
        optimizer.zero_grad()
        disagreement(guide, latents, known).sum().backward()
        optimizer.step()
    assert disagreement(guide, latents, known).item() < 0.1 * before
    assert guide(latents)["subject"].argmax(1).item() == asked
    assert all(parameter.grad is None for parameter in guide.parameters())
