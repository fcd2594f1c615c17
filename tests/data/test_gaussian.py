"""Gaussian mixtures: the draw against the density, the density against SciPy's and against its integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gancli.data import load
from gancli.data.gaussian import MIXTURES, gaussian_density, load_gaussian
from gancli.errors import UsageError


@pytest.mark.parametrize("name", MIXTURES)
def test_the_registered_sets_have_the_usual_splits(name):
    data = load(name, seed=3)
    assert data.name == name
    assert data.shape == (1, 1, 1)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [50_000, 10_000, 10_000]
    assert data.train.dtype == torch.float32


def test_a_seed_decides_the_numbers():
    one, again, other = load("gaussian", seed=1), load("gaussian", seed=1), load("gaussian", seed=2)
    assert torch.equal(one.train, again.train)
    assert not torch.equal(one.train, other.train)
    assert not torch.equal(one.train[:10_000], one.test)


@pytest.mark.parametrize("name", MIXTURES)
def test_the_draw_follows_the_density(name):
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    density = gaussian_density(x, name=name)
    assert abs(torch.trapezoid(density, x) - 1) < 1e-9
    distribution = torch.cumulative_trapezoid(density, x)
    drawn = load(name, seed=0).train.flatten().double().sort().values
    at = distribution[torch.searchsorted(x[1:], drawn).clamp(max=len(distribution) - 1)]
    ranks = torch.arange(1, len(drawn) + 1) / len(drawn)
    # Kolmogorov and Smirnov's distance; beyond 1.95 / sqrt(n) with probability 0.001.
    assert (at - ranks).abs().max() < 1.95 / math.sqrt(len(drawn))


def test_the_density_is_that_of_the_formula():
    x = np.array([-3.0, 0.1, 2.0])
    by_hand = 0.25 * np.exp(-((x - 1) ** 2) / 8) / (2 * np.sqrt(2 * np.pi)) + 0.75 * np.exp(-((x + 2) ** 2) / 0.5) / (
        0.5 * np.sqrt(2 * np.pi)
    )
    density = gaussian_density(torch.from_numpy(x), means=(1, -2), stds=(2, 0.5), weights=(1, 3))
    assert density.dtype == torch.float64
    assert np.allclose(density.numpy(), by_hand, rtol=1e-14)


def test_a_mixture_of_one_s_own_is_drawn():
    data = load_gaussian(0, 3000, 5, 7, means=(-5, 5), stds=(0.1, 0.1), weights=(1, 2))
    assert (len(data.valid), len(data.test)) == (5, 7)
    assert abs((data.train > 0).float().mean() - 2 / 3) < 0.04
    assert ((data.train.abs() - 5).abs() < 1).all()
    assert load_gaussian(0, 3, 1, 1, means=(0, 1)).train.shape == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"means": (0, 1), "stds": (1,)}, "as many"),
        ({"means": ()}, "as many"),
        ({"stds": (1,)}, "its means"),
        ({"means": (0,), "stds": (-1,)}, "positive"),
        ({"means": (0,), "weights": (0.0,)}, "positive"),
        ({"means": (float("nan"),)}, "finite"),
        ({"num_train": 0}, "at least one"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"name": "other"}, "gaussian-mixture"),
    ],
)
def test_what_is_no_mixture_is_refused_in_one_sentence(refuses, arguments, word):
    with refuses(word, error=UsageError):
        load_gaussian(**arguments)
