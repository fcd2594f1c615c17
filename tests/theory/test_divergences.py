"""D*, V, C(G), KL and JSD against closed forms and against SciPy's quadrature, which shares no code with them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from gancli.data.gaussian import Mixture
from gancli.theory.densities import PRIORS, Map, Prior, PushForward, differentiable_map, quantile_map
from gancli.theory.divergences import LOG_4, Comparison

UNIT = Mixture((0.0,), (1.0,), (1.0,))


def affine(slope: float, offset: float) -> Map:
    return differentiable_map(lambda z: slope * z + offset)


# So wide that p_g, a normal again, reaches beyond all data: KL(p_data ‖ p_g) is finite only then.
WIDE = Prior("gaussian", -30.0, 30.0)


def against(data: Mixture, G: Map, prior: Prior = WIDE) -> Comparison:
    return Comparison(data, PushForward(G, prior))


def scipy_jsd(p: object, q: object, edges: list[float]) -> float:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) of two SciPy distributions, by adaptive quadrature between the edges."""

    def integrand(x: float) -> float:
        a, b = p.pdf(x), q.pdf(x)  # type: ignore[attr-defined]
        middle = (a + b) / 2
        return 0.5 * sum(c * math.log(c / middle) for c in (a, b) if c > 0)

    pieces = itertools.pairwise(edges)
    return sum(integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12, limit=400)[0] for a, b in pieces)


def test_two_unit_normals_at_distance_two():
    found = against(UNIT, affine(1, 2))
    expected = scipy_jsd(stats.norm(0), stats.norm(2), [-12, -2, 1, 4, 14])
    assert found.jsd == pytest.approx(expected, abs=1e-11)
    assert found.jsd == pytest.approx(0.336830820347, abs=1e-12)
    assert found.c_of_g == pytest.approx(-LOG_4 + 2 * expected, abs=1e-11)
    # KL(N(0, 1) ‖ N(2, 1)) = 2²/2, both ways.
    assert found.kl_data_model == pytest.approx(2, abs=1e-12)
    assert found.kl_model_data == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 2.0), (-1.0, 0.4), (0.0, 1.1)])
def test_kl_of_normals_has_a_closed_form_both_ways(mean, std):
    found = against(UNIT, affine(std, mean))
    assert found.kl_data_model == pytest.approx(math.log(std) + (1 + mean**2) / (2 * std**2) - 0.5, abs=1e-11)
    assert found.kl_model_data == pytest.approx(-math.log(std) + (std**2 + mean**2) / 2 - 0.5, abs=1e-11)


def test_a_folding_generator_against_scipy():
    # x = z² of a normal z follows χ² with one degree of freedom, infinite at 0.
    found = against(Mixture((1.0,), (1.0,), (1.0,)), differentiable_map(torch.square))
    beyond = 0.5 * stats.norm(1).cdf(0) * math.log(2)  # left of 0 the data are alone: ½ ∫ p log 2
    rest = scipy_jsd(stats.norm(1), stats.chi2(1), [1e-16, 1e-12, 1e-8, 1e-5, 1e-3, 0.1, 1, 4, 12, 60])
    assert found.jsd == pytest.approx(beyond + rest, abs=1e-8)
    assert found.data_beyond_model == pytest.approx(stats.norm(1).cdf(0), abs=1e-12)
    assert found.kl_data_model == math.inf


def test_a_uniform_p_g_against_scipy():
    root = math.sqrt(3)
    found = against(UNIT, affine(1, 0), PRIORS["uniform"])
    inside = scipy_jsd(stats.norm(0), stats.uniform(-root, 2 * root), [-root, root])
    outside = 0.5 * math.log(2) * 2 * stats.norm.cdf(-root)
    assert found.jsd == pytest.approx(inside + outside, abs=1e-12)


def test_a_mixture_against_scipy():
    data = Mixture((-2.0, 1.0), (0.5, 1.0), (1.0, 3.0))

    class TwoModes:
        def pdf(self, x: float) -> float:
            return float(0.25 * stats.norm.pdf(x, -2, 0.5) + 0.75 * stats.norm.pdf(x, 1, 1))

    found = against(data, affine(1.5, 0))
    assert found.jsd == pytest.approx(scipy_jsd(TwoModes(), stats.norm(0, 1.5), [-14, -3, -1, 2, 14]), abs=1e-11)


def test_far_apart_densities_reach_log_2_and_no_information():
    found = against(UNIT, affine(1, 60))
    assert found.jsd == pytest.approx(math.log(2), abs=1e-12)
    assert found.c_of_g == pytest.approx(0, abs=1e-12)


def test_where_p_g_is_p_data_the_value_is_minus_log_4_and_d_is_a_half():
    data = Mixture((-2.0, 2.0), (0.5, 0.5), (1.0, 1.0))
    found = against(data, quantile_map(data), PRIORS["gaussian"])
    assert found.c_of_g == pytest.approx(-LOG_4, abs=1e-12)
    assert pytest.approx(-1.3862943611, abs=1e-10) == -LOG_4
    assert found.jsd == pytest.approx(0, abs=1e-12)
    assert found.largest_error(torch.zeros_like) < 1e-12


def test_the_optimal_discriminator_is_p_data_over_the_sum():
    found = against(UNIT, affine(1, 2))
    x = torch.tensor([-1.0, 1.0, 2.5], dtype=torch.float64)
    p, q = stats.norm.pdf(x, 0), stats.norm.pdf(x, 2)
    assert found.optimal_logit(x).sigmoid().numpy() == pytest.approx(p / (p + q), rel=1e-12)


def test_the_value_of_any_discriminator_is_its_definition_and_below_c():
    found = against(UNIT, affine(1, 2))

    def d_of(x: float) -> float:
        return 1 / (1 + math.exp(x - 0.5))

    def integrand(x: float) -> float:
        return float(stats.norm.pdf(x) * math.log(d_of(x)) + stats.norm.pdf(x, 2) * math.log(1 - d_of(x)))

    expected = integrate.quad(integrand, -12, 14, epsabs=1e-13, limit=300)[0]
    assert found.value(lambda x: 0.5 - x) == pytest.approx(expected, abs=1e-11)
    assert expected < found.c_of_g
    assert found.value(found.optimal_logit) == pytest.approx(found.c_of_g, abs=1e-14)


def test_the_largest_error_is_taken_where_there_is_something_to_see():
    found = against(UNIT, affine(1, 0))
    # D = ½ everywhere but far out, where neither density is a thousandth of the peak.
    assert found.largest_error(lambda x: torch.where(x.abs() > 5, 10.0, 0.0).double()) < 1e-12
    assert found.largest_error(lambda x: torch.where(x > 1, math.log(3), 0.0).double()) == pytest.approx(0.25)


def test_a_coarser_rule_gives_the_same_to_many_digits():
    model = PushForward(affine(0.7, 1), WIDE)
    assert Comparison(UNIT, model, 12).jsd == pytest.approx(Comparison(UNIT, model).jsd, abs=1e-8)
    assert np.isfinite(Comparison(UNIT, model, 12).kl_data_model)


def test_tails_in_which_g_has_stopped_moving_cost_nothing() -> None:
    """x = tanh(3 z): log p_g(x) = log φ(z) − log(3 sech²(3 z)), integrated over z by SciPy."""

    def term(z: float) -> float:
        x, log_slope = math.tanh(3 * z), math.log(3) - 2 * (math.log(math.cosh(3 * z)))
        return float(stats.norm.pdf(z) * (stats.norm.logpdf(z) - log_slope - stats.norm.logpdf(x)))

    expected = integrate.quad(term, -9, 9, epsabs=1e-12, limit=200)[0]
    found = Comparison(UNIT, PushForward(differentiable_map(lambda z: torch.tanh(3 * z)), PRIORS["gaussian"]))
    assert found.kl_model_data == pytest.approx(expected, abs=1e-6)
    assert 0 < found.jsd < LOG_4 / 2
