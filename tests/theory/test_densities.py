"""p_g from the Jacobian against closed forms and samples; integrals against SciPy's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from gancli.data.gaussian import Mixture, gaussian_density
from gancli.errors import GancliError, UsageError
from gancli.nets.networks import Generator, initialise_network
from gancli.theory.densities import (
    PRIORS,
    PushForward,
    differentiable_map,
    log_mixture_density,
    network_map,
    quantile_map,
)
from gancli.theory.quadrature import panel_rule

GAUSSIAN, UNIFORM = PRIORS["gaussian"], PRIORS["uniform"]
THREE = Mixture((-3.0, 0.0, 3.0), (0.4, 0.7, 0.4), (0.3, 0.4, 0.3))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def density(model: PushForward, x: torch.Tensor) -> np.ndarray:
    return model.log_density(x).exp().numpy()


@pytest.mark.parametrize(
    ("function", "breakpoints", "integral"),
    [
        (lambda x: x.cos(), (0.0, math.pi / 2), 1.0),
        (lambda x: x.rsqrt(), (0.0, 1.0, 4.0), 4.0),
        (lambda x: (1 - x).rsqrt(), (0.0, 1.0), 2.0),
        (lambda x: x.log(), (0.0, 1.0), -1.0),
    ],
)
def test_panels_forgive_singular_ends(function, breakpoints, integral):
    rule = panel_rule(tensor(*breakpoints))
    assert rule.integrate(function(rule.nodes)) == pytest.approx(integral, abs=1e-8)


def test_breakpoints_may_repeat_and_come_in_any_order():
    one, other = panel_rule(tensor(1.0, 0.0, 0.5)), panel_rule(tensor(0.0, 0.5, 0.5 + 1e-15, 1.0, 1.0))
    assert torch.equal(one.nodes, other.nodes)


def test_the_logarithm_of_a_mixture_agrees_with_its_density_and_does_not_underflow():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    expected = gaussian_density(x, THREE.means, THREE.stds, THREE.weights).log()
    torch.testing.assert_close(log_mixture_density(THREE, x), expected, rtol=1e-12, atol=1e-12)
    far = log_mixture_density(Mixture((0.0,), (0.5,), (2.0,)), tensor(100.0))
    assert far.item() == pytest.approx(stats.norm.logpdf(100, scale=0.5), rel=1e-14)


@pytest.mark.parametrize("slope", [2.0, -0.3])
def test_an_affine_generator_gives_a_normal(slope):
    model = PushForward(differentiable_map(lambda z: slope * z + 1), GAUSSIAN)
    x = torch.linspace(-3, 5, 41, dtype=torch.float64)
    assert len(model.turning) == 0
    assert density(model, x) == pytest.approx(stats.norm.pdf(x, 1, abs(slope)), rel=1e-12)


def test_a_uniform_z_stays_uniform_and_ends_where_it_ends():
    model = PushForward(differentiable_map(lambda z: 2 * z), UNIFORM)
    x = tensor(-3.5, -3.4, 0.0, 3.4, 3.5)
    assert density(model, x) == pytest.approx([0, *[1 / (4 * math.sqrt(3))] * 3, 0], rel=1e-14)


def test_a_square_folds_a_normal_into_chi_squared():
    model = PushForward(differentiable_map(torch.square), GAUSSIAN)
    x = tensor(-0.1, 1e-4, 0.01, 0.5, 1.0, 3.0, 20.0)
    assert model.turning.tolist() == pytest.approx([0], abs=1e-15)
    assert density(model, x) == pytest.approx(stats.chi2.pdf(x, 1), rel=1e-11)


def test_a_sine_folds_a_uniform_z_many_times():
    # z on [−√3, √3], x = sin(4z): the branches of the arcsine, counted by hand.
    model = PushForward(differentiable_map(lambda z: torch.sin(4 * z)), UNIFORM)
    x = tensor(-0.9, 0.2, 0.7)
    z = np.linspace(-math.sqrt(3), math.sqrt(3), 4_000_001)
    crossings = [np.count_nonzero(np.diff(np.sign(np.sin(4 * z) - value))) for value in x.tolist()]
    expected = [n / (2 * math.sqrt(3)) / (4 * math.sqrt(1 - v * v)) for n, v in zip(crossings, x.tolist(), strict=True)]
    assert min(crossings) >= 3
    assert density(model, x) == pytest.approx(expected, rel=1e-12)


def test_a_fold_narrower_than_the_grid_is_found():
    # A cubic with turning points at ±1e−4, far below the grid's step of 0.0017.
    model = PushForward(differentiable_map(lambda z: z**3 - 3e-8 * z), UNIFORM)
    assert model.turning.tolist() == pytest.approx([-1e-4, 1e-4], rel=1e-9)


def make_network(seed: int) -> Generator:
    G = Generator("dense 16 tanh irange=2 brange=2, dense 16 tanh irange=1, dense out linear irange=0.7", 1, (1, 1, 1))
    initialise_network(G, torch.Generator().manual_seed(seed))
    return G


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("prior", [GAUSSIAN, UNIFORM], ids=["gaussian", "uniform"])
def test_the_density_of_a_network_integrates_to_one(seed, prior):
    model = PushForward(network_map(make_network(seed)), prior)
    rule = panel_rule(model.breakpoints_x)
    assert rule.integrate(model.log_density(rule.nodes).exp()) == pytest.approx(1, abs=1e-6)


def test_the_density_of_a_folding_network_agrees_with_its_samples():
    G = make_network(2)
    model = PushForward(network_map(G), GAUSSIAN)
    assert len(model.turning) >= 1
    n = 200_000
    samples = network_map(G)(torch.randn(n, dtype=torch.float64))[0]
    edges = torch.quantile(samples[:10_000], torch.linspace(0, 1, 21, dtype=torch.float64))
    edges[0], edges[-1] = samples.min() - 1, samples.max() + 1
    for low, high in itertools.pairwise(edges):
        inside = model.breakpoints_x[(model.breakpoints_x > low) & (model.breakpoints_x < high)]
        rule = panel_rule(torch.cat([low[None], inside, high[None]]))
        p = rule.integrate(model.log_density(rule.nodes).exp())
        share = ((samples >= low) & (samples < high)).double().mean().item()
        assert share == pytest.approx(p, abs=4.5 * math.sqrt(p * (1 - p) / n))


def test_a_made_point_has_a_density_there():
    model = PushForward(network_map(make_network(1)), GAUSSIAN)
    z = torch.cat([torch.linspace(-9, 9, 500, dtype=torch.float64), model.turning + 1e-9])
    x, log_p = model.log_density_of_images(z)
    assert torch.isfinite(log_p).all()
    # From x alone the origin is found again, but not 1e−9 from a fold, where G(z) has lost the digits.
    inside = torch.isfinite(model.log_density(x)) & (z.abs() < 3)
    inside[500:] = False
    torch.testing.assert_close(log_p[inside], model.log_density(x)[inside], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mixture", [THREE, Mixture((-5.0, 5.0), (0.5, 0.5), (1.0, 3.0))])
def test_quantiles_carry_a_normal_to_the_mixture(mixture):
    z = tensor(-6.0, -1.0, 0.0, 0.3, 2.0, 6.0)
    x, _ = quantile_map(mixture)(z)
    weights = np.array(mixture.weights) / sum(mixture.weights)
    for value, position in zip(z.tolist(), x.tolist(), strict=True):
        side = -1 if value > 0 else 1  # the smaller tail, whose digits a double keeps
        tail = weights @ stats.norm.cdf(side * (position - np.array(mixture.means)) / np.array(mixture.stds))
        assert tail == pytest.approx(stats.norm.cdf(side * value), rel=1e-11)


def test_a_constant_generator_has_no_density():
    with pytest.raises(GancliError, match="constant around"):
        PushForward(differentiable_map(lambda z: z.clamp(min=0)), GAUSSIAN)


def test_saturated_tails_are_left_out():
    # The slope of tanh(40 z) is 0 in double precision from |z| = 0.5 on: a mass that matters, unlike that of tanh(3 z).
    with pytest.raises(GancliError, match="constant around"):
        PushForward(differentiable_map(lambda z: torch.tanh(40 * z)), GAUSSIAN)
    model = PushForward(differentiable_map(lambda z: torch.tanh(3 * z)), GAUSSIAN)
    expected = stats.norm.pdf(math.atanh(0.5) / 3) / (3 * (1 - 0.5**2))
    assert density(model, tensor(0.5)) == pytest.approx([expected], rel=1e-12)


def test_a_diverged_generator_is_named():
    with pytest.raises(GancliError, match="diverged"):
        PushForward(differentiable_map(lambda z: z * float("inf")), GAUSSIAN)


def test_only_single_numbers_have_this_density():
    with pytest.raises(UsageError, match="from one number to one"):
        network_map(Generator("dense out linear", 2, (1, 1, 1)))
