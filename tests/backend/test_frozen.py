"""Networks with their weights packed."""

from __future__ import annotations

import pytest
import torch
from nijimi_backend.engine.frozen import frozen


class Two(torch.nn.Module):
    """Convolutions, a time that is told as a number, and two results."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(4, 8, 3, padding=1)
        self.other = torch.nn.Conv2d(8, 4, 3, stride=2, padding=1)
        # As the loader leaves all networks.
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = torch.nn.functional.silu(self.one(x)) * when
        return inner, self.other(inner)


@pytest.mark.parametrize("takes_gradients", [False, True])
def test_what_is_frozen_is_the_network_as_it_was(takes_gradients: bool) -> None:
    torch.manual_seed(0)
    network = Two().eval().requires_grad_(takes_gradients)
    inputs = (torch.randn(1, 4, 16, 16), torch.tensor(7))
    with torch.inference_mode():
        expected = network(*inputs)
        packed = frozen(network, inputs)
        assert packed is not network
        for each in network.parameters():
            each.data.zero_()
        for made, true in zip(packed(*inputs), expected, strict=True):
            assert torch.allclose(made, true, atol=1e-5)
