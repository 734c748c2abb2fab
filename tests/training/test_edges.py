"""Edges of pictures, as a detector has them and with a slope to follow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from training.edges import canny_edges, edge_disagreement, edge_strength
from training.evaluate import edge_f1

Pixels = npt.NDArray[np.uint8]


def a_square(top: int, left: int, light: int = 255) -> Pixels:
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[top : top + 40, left : left + 40] = light
    return picture


def as_images(*pictures: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_an_edge_is_where_the_detector_has_it() -> None:
    picture = a_square(20, 30)
    asked = canny_edges(picture[None])[0, 0] > 0
    strength = edge_strength(as_images(picture))[0, 0]
    assert asked.sum() > 100
    assert strength[asked].min() > 0.9
    assert strength[40, 50] < 0.1, "there is none inside"
    assert edge_strength(as_images(a_square(20, 30, light=12))).max() < 0.5, "too faint to be one"


def test_the_same_edges_agree_and_others_do_not() -> None:
    picture, near, far = a_square(20, 30), a_square(21, 31), a_square(50, 5)
    asked = canny_edges(np.stack([picture] * 3))
    same, moved, other = edge_disagreement(as_images(picture, near, far), asked).tolist()
    assert same < 0.25
    assert abs(same - moved) < 0.05
    assert other > 0.6
    assert edge_f1(picture, near) > 0.9 > 0.4 > edge_f1(picture, far)


def test_a_picture_without_edges_is_wrong_and_still_has_a_slope() -> None:
    asked = canny_edges(a_square(20, 30)[None])
    images = torch.zeros(1, 3, 96, 96, requires_grad=True)
    far = edge_disagreement(images + 0.01 * torch.rand(1, 3, 96, 96), asked)
    assert far.item() > 0.8
    far.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0


def test_edges_appear_where_they_are_asked_for() -> None:
    torch.manual_seed(0)
    asked = canny_edges(a_square(20, 30)[None])
    images = (0.05 * torch.randn(1, 3, 96, 96)).requires_grad_(True)
    optimizer = torch.optim.Adam([images], lr=0.05)
    before = edge_disagreement(images, asked).item()
    for _ in range(60):
        optimizer.zero_grad()
        edge_disagreement(images, asked).sum().backward()
        optimizer.step()
    made = ((images.detach().clamp(-1, 1) + 1) * 127.5).byte()[0].permute(1, 2, 0).numpy()
    assert edge_disagreement(images, asked).item() < 0.5 * before
    assert edge_f1(np.ascontiguousarray(made), a_square(20, 30)) > 0.7
