"""What tells made latents from real ones: it learns to, reads the words, and asks with measure."""

from __future__ import annotations

import pytest
import torch

from training.discriminator import Critic, Discriminator, joined
from training.guide import Guide
from training.networks import LATENT_CHANNELS, WORDS_WIDTH

CPU = torch.device("cpu")


def test_it_scores_every_place_at_three_sizes() -> None:
    latents, words = torch.randn(2, LATENT_CHANNELS, 32, 32), torch.randn(2, WORDS_WIDTH)
    scores = Discriminator(Guide())(latents, words)
    assert scores.shape == (2, 32 * 32 + 16 * 16 + 8 * 8)


def test_it_learns_to_tell_real_from_made() -> None:
    torch.manual_seed(0)
    critic = Critic(Guide(), 2e-3, CPU)
    words = torch.randn(8, WORDS_WIDTH)
    losses: list[float] = []
    for _ in range(12):
        real = torch.randn(8, LATENT_CHANNELS, 16, 16)
        losses.append(critic.learn(real, 0.3 * torch.randn_like(real), words))
    assert losses[-1] < 0.75 * losses[0]
    real, made = torch.randn(8, LATENT_CHANNELS, 16, 16), 0.3 * torch.randn(8, 4, 16, 16)
    assert (critic.wish(real, words) < critic.wish(made, words)).item()


def test_it_learns_whether_the_words_are_the_pictures() -> None:
    torch.manual_seed(0)
    critic = Critic(Guide(), 3e-3, CPU)
    # Two kinds of picture, bright and dark, each with words of its own.
    kinds = torch.tensor([1.0, -1.0]).repeat(8)
    words = torch.randn(2, WORDS_WIDTH).repeat(8, 1)
    real = kinds.view(-1, 1, 1, 1) + 0.1 * torch.randn(16, LATENT_CHANNELS, 16, 16)
    for _ in range(25):
        critic.learn(real, 3 * torch.randn_like(real), words)
    right, wrong = critic.wish(real, words), critic.wish(real, words.roll(1, 0))
    assert (right < wrong - 0.1).item()


def test_what_it_knows_is_saved_and_read_again() -> None:
    torch.manual_seed(0)
    one, other = Critic(Guide(), 1e-3, CPU), Critic(Guide(), 1e-3, CPU)
    real, words = torch.randn(4, LATENT_CHANNELS, 16, 16), torch.randn(4, WORDS_WIDTH)
    one.learn(real, 0 * real, words)
    other.load_state_dict(one.state_dict())
    torch.manual_seed(1)
    wish = one.wish(real, words)
    torch.manual_seed(1)
    assert torch.equal(wish, other.wish(real, words))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_wish_weighs_a_part_of_the_rest_whatever_its_scale(scale: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 4, 8, 8, requires_grad=True)
    guess = 2 * weight
    own, wish = (guess - 1).square().mean(), scale * guess.abs().sum()
    (alone,) = torch.autograd.grad(own, guess, retain_graph=True)
    both = joined(own, wish, guess, 0.5)
    assert float((both - alone).norm()) == pytest.approx(0.5 * float(alone.norm()), rel=1e-4)
    guess.backward(both)
    assert weight.grad is not None
    assert torch.allclose(weight.grad, 2 * both)


def test_a_wish_that_is_granted_asks_for_nothing() -> None:
    weight = torch.ones(1, 4, 2, 2, requires_grad=True)
    guess = 2 * weight
    both = joined(guess.square().mean(), 0 * guess.sum(), guess, 0.5)
    assert torch.allclose(both, 2 * guess.detach() / guess.numel())
