"""Nearest training examples: what Figure 2's right-hand column shows, that the model has not memorised."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 2048  # training examples at a time


@torch.no_grad()
def nearest_neighbours(
    samples: Tensor, train: Tensor, *, preprocess: Callable[[Tensor], Tensor] = lambda raw: raw
) -> tuple[Tensor, Tensor]:
    """Find the training example nearest to each sample.

    argmin_j ‖s_i − x_j‖²; ties go to the lowest j.

    Args:
        samples: (n, …) float, in the space the networks see.
        train: (m, …) raw training examples.
        preprocess: maps raw examples to the space of the samples.

    Returns:
        Indices (n,) int64 into `train`, and Euclidean distances (n,) float.

    Source: Figure 2 of the paper.
    """
    flat = samples.flatten(1).double()
    best = flat.new_full((len(flat),), torch.inf)
    index = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    for start in range(0, len(train), CHUNK):
        x = preprocess(train[start : start + CHUNK].to(flat.device)).flatten(1).double()
        distances, nearest = torch.cdist(flat, x, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        closer = distances < best
        best = torch.where(closer, distances, best)
        index = torch.where(closer, nearest + start, index)
    return index, best.to(samples.dtype)
