"""The checks of section 4: that they pass, that they can fail, and what they rest on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from gancli.data.gaussian import Mixture
from gancli.nets.networks import Discriminator, initialise_network
from gancli.theory import propositions
from gancli.theory.densities import PRIORS, PushForward, differentiable_map
from gancli.theory.divergences import Comparison
from gancli.theory.optimum import logit_of, train_to_optimum
from gancli.theory.play import Play, game_config
from gancli.theory.propositions import Check, descend_table, proposition_1, proposition_2, theorem_1
from gancli.theory.saturation import measure_saturation
from gancli.theory.targets import TARGETS, Line

UNIT = Mixture((0.0,), (1.0,), (1.0,))


def line(name: str) -> Line:
    target = TARGETS[name]
    assert isinstance(target, Line)
    return target


def config(name: str = "one"):
    return game_config(line(name), k=1, loss="minimax", seed=1, steps=2)


def test_a_check_can_fail() -> None:
    assert Check("", "", "", 0.5, 0.0, 1.0).passed
    assert not Check("", "", "", 1.5, 0.0, 1.0).passed
    assert not Check("", "", "", math.nan, 0.0, 1.0).passed


@pytest.mark.parametrize("name", ["one", "several", "far"])
def test_proposition_1(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shorter rounds, after each of which a D that is good enough stops; the limit that it must meet stays.
    monkeypatch.setattr(propositions, "_ITERATIONS", 40)
    found = list(proposition_1(line(name).mixture, config(name)))
    assert len(found) == 4
    assert all(check.passed for check in found), found


def test_proposition_1_fails_where_d_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propositions, "train_to_optimum", lambda D, comparison, iterations: D)
    assert not any(check.passed for check in proposition_1(UNIT, config()))


@pytest.mark.parametrize("name", ["one", "far"])
def test_theorem_1(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propositions, "_RANDOM_GENERATORS", 2)
    found = list(theorem_1(line(name).mixture, config(name)))
    assert all(check.passed for check in found), found
    assert found[0].computed > 1e-3  # random networks are no p_data


@pytest.mark.parametrize("name", ["one", "several", "far"])
def test_proposition_2(name: str) -> None:
    check = proposition_2(line(name).mixture)
    assert check.passed, check


def test_the_free_table_goes_down_all_the_way() -> None:
    data = torch.tensor([0.5, 0.3, 0.15, 0.05 - 1e-4, 1e-4], dtype=torch.float64)
    divergences = descend_table(data, 60)
    p, q = data.numpy(), np.full(5, 0.2)
    m = (p + q) / 2
    by_hand = 0.5 * (p * np.log(p / m)).sum() + 0.5 * (q * np.log(q / m)).sum()
    assert divergences[0] == pytest.approx(by_hand, rel=1e-12)
    assert all(later <= earlier + 1e-15 for earlier, later in itertools.pairwise(divergences))
    # Near the end each step halves log(p_g/p_data), and so quarters the divergence.
    assert divergences[19] / divergences[18] == pytest.approx(0.25, rel=0.05)
    assert divergences[-1] < 1e-12


def test_the_gradient_that_the_table_descends_is_that_of_c() -> None:
    # The proof of Proposition 2: with D = D*, ∂C/∂p_g is ∂V/∂p_g = log(1 − D*), though D* itself depends on p_g.
    data = np.array([0.5, 0.3, 0.2])
    model = np.array([0.2, 0.2, 0.6])

    def c(q: np.ndarray) -> float:
        return float((data * np.log(data / (data + q))).sum() + (q * np.log(q / (data + q))).sum())

    numeric = optimize.approx_fprime(model, c, 1e-7)
    assert numeric == pytest.approx(np.log(model / (data + model)), abs=1e-6)


def test_a_trained_discriminator_is_the_optimal_one() -> None:
    exact = Comparison(UNIT, PushForward(differentiable_map(lambda z: z + 2), PRIORS["gaussian"]))
    D = Discriminator("dense 16 tanh irange=1 brange=2, dense 1 sigmoid", (1, 1, 1))
    initialise_network(D, torch.Generator().manual_seed(0))
    before = [parameter.clone() for parameter in D.parameters()]
    trained = train_to_optimum(D, exact, 60)
    # log D*/(1 − D*) = log N(x; 0, 1) − log N(x; 2, 1) = 2 − 2x.
    x = torch.linspace(-1, 3, 9, dtype=torch.float64)
    assert logit_of(trained)(x).numpy() == pytest.approx((2 - 2 * x).numpy(), abs=0.1)
    assert 0 <= exact.c_of_g - exact.value(logit_of(trained)) < 1e-4
    assert all(torch.equal(a, b) for a, b in zip(before, D.parameters(), strict=True))


def test_saturation_follows_the_losses_closed_form() -> None:
    play = Play(line("one"), config())
    # With a single z both gradients are one vector times D and 1 − D.
    measured = measure_saturation(play.game, torch.tensor([[0.3]]))
    d = np.array(measured.d_of_g)
    assert (d[0] < 1e-5, d[-1] > 1 - 1e-5) == (True, True)
    ratio = np.array(measured.norms["minimax"]) / np.array(measured.norms["non-saturating"])
    assert ratio == pytest.approx(d / (1 - d), rel=1e-9)
    # A rejected sample moves G under one loss, and not under the other.
    many = measure_saturation(play.game, torch.randn(64, 1))
    assert many.norms["minimax"][0] < 1e-3 * many.norms["non-saturating"][0]
