"""Nearest neighbours against brute force in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from gancli.evaluate import neighbours
from gancli.evaluate.neighbours import nearest_neighbours


def test_nearest_neighbours_equal_brute_force(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(neighbours, "CHUNK", 7)  # several chunks, the last ragged
    rng = torch.Generator().manual_seed(2)
    samples, train = torch.rand(9, 1, 3, 3, generator=rng), torch.rand(40, 1, 3, 3, generator=rng)
    index, distance = nearest_neighbours(samples, train)
    a, b = samples.flatten(1).double().numpy(), train.flatten(1).double().numpy()
    all_distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    assert index.tolist() == all_distances.argmin(axis=1).tolist()
    np.testing.assert_allclose(distance.numpy(), all_distances.min(axis=1), rtol=1e-6)


def test_a_training_example_is_its_own_neighbour_and_ties_go_to_the_first() -> None:
    train = torch.rand(5, 1, 2, 2)
    train[3] = train[1]
    index, distance = nearest_neighbours(train[[1, 3, 4]], train)
    assert index.tolist() == [1, 1, 4]
    assert distance.tolist() == [0, 0, 0]


def test_training_data_pass_through_the_preprocessing() -> None:
    train = torch.tensor([0, 100, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    index, _ = nearest_neighbours(torch.tensor([0.4]).view(1, 1, 1, 1), train, preprocess=lambda raw: raw / 255)
    assert index.tolist() == [1]
