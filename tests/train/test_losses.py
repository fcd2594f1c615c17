"""Losses and their gradients against the paper's formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.errors import UsageError
from gancli.train.losses import discriminator_loss, generator_loss


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.linspace(-8, 8, 33, dtype=torch.float64)
    return values.clone().requires_grad_(), values.flip(0).clone().mul_(0.7).requires_grad_()


def test_discriminator_loss_is_minus_the_value_function() -> None:
    real, fake = logits()
    D_real, D_fake = torch.sigmoid(real), torch.sigmoid(fake)
    expected = -(torch.log(D_real) + torch.log(1 - D_fake)).mean()
    loss = discriminator_loss(real, fake, 1.0)
    torch.testing.assert_close(loss, expected)
    for own, formula in zip(
        torch.autograd.grad(loss, [real, fake]), torch.autograd.grad(expected, [real, fake]), strict=True
    ):
        torch.testing.assert_close(own, formula)


def test_discriminator_cost_of_the_code_is_half_that_of_the_paper() -> None:
    real, fake = logits()
    torch.testing.assert_close(discriminator_loss(real, fake, 0.5), 0.5 * discriminator_loss(real, fake, 1.0))


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("minimax", lambda D: torch.log(1 - D).mean()),
        ("non-saturating", lambda D: -torch.log(D).mean()),
    ],
)
def test_generator_loss_and_gradient_are_the_formula(kind: str, formula: object) -> None:
    fake, _ = logits()
    expected = formula(torch.sigmoid(fake))  # type: ignore[operator]
    loss = generator_loss(fake, kind)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], torch.autograd.grad(expected, fake)[0])


def test_losses_stay_finite_where_the_discriminator_is_certain() -> None:
    sure = torch.tensor([200.0], requires_grad=True)
    assert discriminator_loss(-sure, sure).item() == pytest.approx(400.0)
    assert generator_loss(-sure, "non-saturating").item() == pytest.approx(200.0)
    assert math.isfinite(generator_loss(sure, "minimax").item())


def test_at_equilibrium_the_value_is_minus_log_four() -> None:
    half = torch.zeros(3, dtype=torch.float64)
    assert -discriminator_loss(half, half).item() == pytest.approx(-math.log(4), abs=1e-15)


def test_saturating_loss_starves_the_generator_where_the_discriminator_is_sure() -> None:
    fake = torch.tensor([-10.0], dtype=torch.float64, requires_grad=True)
    (weak,) = torch.autograd.grad(generator_loss(fake, "minimax"), fake)
    (strong,) = torch.autograd.grad(generator_loss(fake, "non-saturating"), fake)
    assert abs(weak.item()) < 1e-4 < 0.99 < abs(strong.item())


def test_unknown_loss_is_refused() -> None:
    with pytest.raises(UsageError, match="minimax or non-saturating"):
        generator_loss(torch.zeros(1), "wasserstein")
