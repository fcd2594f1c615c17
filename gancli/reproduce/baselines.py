"""Samples that no model made, scored beside a model's: they show what a Parzen figure can and cannot say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.reproduce.kmeans import kmeans
from gancli.reproduce.published import K_MEANS, TRAINING_IMAGES, Published

KMEANS_ITERATIONS = 10


@dataclass(frozen=True)
class Baseline:
    """A way to make samples without a model.

    Attributes:
        name: as in result.json.
        sentence: what the samples are.
        draw: takes training examples (n, …) as the networks see them, the number wanted and a source of randomness;
            returns at most that number of samples (m, …).
        published: the same elsewhere, where somebody published it.
    """

    name: str
    sentence: str
    draw: Callable[[Tensor, int, torch.Generator], Tensor]
    published: Published | None = None


def first_images(train: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """Return the first training images themselves."""
    return train[:num]


def pixel_gaussian(train: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """Draw every pixel on its own from the normal distribution of that pixel's training mean and variance."""
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    return mean + std * torch.randn(num, *train.shape[1:], generator=rng).to(train)


def white_noise(train: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """Draw every pixel on its own, uniformly between the least and the greatest training value."""
    low, high = train.min(), train.max()
    return low + (high - low) * torch.rand(num, *train.shape[1:], generator=rng).to(train)


def centroids(train: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """Return the centroids of as many clusters of the training images."""
    flat = kmeans(train.flatten(1), min(num, len(train)), iterations=KMEANS_ITERATIONS, rng=rng)
    return flat.view(-1, *train.shape[1:])


WHITE_NOISE = Baseline("white noise", "every pixel uniform in the range of the data", white_noise)
PIXEL_GAUSSIAN = Baseline("per-pixel Gaussian", "every pixel normal, with its own mean and variance", pixel_gaussian)
TRAINING = Baseline("training images", "the first training images themselves", first_images, TRAINING_IMAGES)
CENTROIDS = Baseline("k-means centroids", "centres of clusters of the training images", centroids, K_MEANS)

# From the least to the most that a Parzen figure makes of them on MNIST.
BASELINES = (WHITE_NOISE, PIXEL_GAUSSIAN, TRAINING, CENTROIDS)
