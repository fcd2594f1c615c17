"""The average of G's weights against its recursion written out in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gancli.train.averaging import EVERY, WeightAverage


def test_average_follows_its_recursion() -> None:
    network = nn.Linear(3, 2)
    rng = torch.Generator().manual_seed(0)
    average = WeightAverage(network, 0.99)
    expected = network.weight.detach().double()
    for step in range(1, 301):
        with torch.no_grad():
            network.weight.copy_(torch.randn(2, 3, generator=rng))
        average.update(step)
        if step % EVERY == 0:
            kept = min(0.99, (1 + step) / (5 + step)) ** EVERY
            expected = kept * expected + (1 - kept) * network.weight.detach().double()
    torch.testing.assert_close(average.network.weight.double(), expected, rtol=0, atol=1e-6)


def test_constant_weights_are_their_own_average() -> None:
    network = nn.Linear(4, 4)
    average = WeightAverage(network, 0.999)
    with torch.no_grad():
        network.weight.fill_(3)
    for step in range(1, 20_001):
        average.update(step)
    torch.testing.assert_close(average.network.weight, network.weight, rtol=1e-6, atol=0)


def test_memory_is_as_long_as_the_decay_says() -> None:
    network = nn.Linear(1, 1)
    average = WeightAverage(network, 0.999)
    with torch.no_grad():
        network.weight.fill_(0)
    for step in range(1, 100_001):
        average.update(step)
    with torch.no_grad():
        network.weight.fill_(1)
    for step in range(100_001, 101_001):
        average.update(step)
    assert average.network.weight.item() == pytest.approx(1 - 0.999**1000, rel=1e-4)


def test_without_decay_it_is_the_network_itself() -> None:
    network = nn.Linear(2, 2)
    assert WeightAverage(network, 0.0).network is network


def test_an_average_that_begins_later_is_that_of_the_weights_since() -> None:
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    late, early = (WeightAverage(network, 0.99) for network in networks)
    late.begin(500)
    with torch.no_grad():
        early.network.weight.copy_(late.network.weight)
    rng = torch.Generator().manual_seed(0)
    for step in range(1, 301):
        weight = torch.randn(2, 3, generator=rng)
        with torch.no_grad():
            for network in networks:
                network.weight.copy_(weight)
        early.update(step)
        late.update(500 + step)
    assert torch.equal(late.network.weight, early.network.weight)
