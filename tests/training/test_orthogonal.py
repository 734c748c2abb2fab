"""Matrices turn at an even rate; everything else moves as by AdamW."""

from __future__ import annotations

import torch
from torch import nn

from training.networks import make_text_encoder, make_unet
from training.orthogonal import MuonWithAdamW

RATE = 0.01


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.rows = nn.Linear(8, 4)
        self.conv.weight.data = self.conv.weight.data.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows(self.conv(x).mean((2, 3)))


def stepped(network: Small, optimizer: MuonWithAdamW, seed: int) -> float:
    torch.manual_seed(seed)
    x = torch.randn(16, 3, 6, 6)
    loss = (network(x) - x.mean((2, 3)) @ torch.ones(3, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_network_learns_by_it() -> None:
    network = Small()
    optimizer = MuonWithAdamW(network.named_parameters(), RATE)
    losses = [stepped(network, optimizer, n) for n in range(150)]
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])


def test_all_directions_of_a_matrix_move_alike() -> None:
    network = Small()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = MuonWithAdamW(network.named_parameters(), RATE)
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    for name in ("conv.weight", "rows.weight"):
        moved = network.get_parameter(name).detach() - before[name]
        sizes = torch.linalg.svdvals(moved.permute(0, *range(moved.dim() - 1, 0, -1)).flatten(1))
        # Weight decay is the other part of a step; Newton and Schulz leave half as much again.
        assert sizes.max() < 4 * sizes.min(), name
        # As large as AdamW's steps are, a fifth of the rate on the mean (Liu et al., equation 4).
        assert 0.1 * RATE < moved.square().mean().sqrt() < 0.4 * RATE, name
    bias = network.conv.bias.detach() - before["conv.bias"]  # pyright: ignore[reportOptionalMemberAccess]
    assert torch.allclose(bias.abs(), torch.full_like(bias, RATE), rtol=0.05)


def test_it_goes_on_from_what_was_saved() -> None:
    straight, broken = Small(), Small()
    optimizer = MuonWithAdamW(straight.named_parameters(), RATE)
    for n in range(4):
        stepped(straight, optimizer, n)
    optimizer = MuonWithAdamW(broken.named_parameters(), RATE)
    for n in range(2):
        stepped(broken, optimizer, n)
    state = optimizer.state_dict()
    optimizer = MuonWithAdamW(broken.named_parameters(), RATE)
    optimizer.load_state_dict(state)
    for n in range(2, 4):
        stepped(broken, optimizer, n)
    for one, other in zip(straight.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_of_the_model_only_tables_and_vectors_are_left_to_adamw() -> None:
    unet, text = make_unet(), make_text_encoder(40, 39)
    named = [*unet.named_parameters(), *text.named_parameters()]
    optimizer = MuonWithAdamW(named, RATE)
    rest = {id(each) for each in optimizer.param_groups[-1]["params"]}
    names = {name for name, weight in named if id(weight) in rest and weight.dim() > 1}
    assert names == {"embeddings.token_embedding.weight", "embeddings.position_embedding.weight"}
