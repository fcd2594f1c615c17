"""k-means: centroids of clusters of images, which as "samples" beat real models in a Parzen figure."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 512  # examples assigned at a time, so that their distances to all centroids stay in the cache's reach


def kmeans(x: Tensor, k: int, *, iterations: int, rng: torch.Generator) -> Tensor:
    """Find centroids by Lloyd's algorithm, from k different examples drawn at random.

    Minimises Σ_i min_j ‖x_i − c_j‖² by turns: every example goes to its nearest centroid, every centroid to the mean
    of its examples. A centroid without examples stays where it is.

    Args:
        x: (n, d) float.
        k: clusters, at most n.
        iterations: at most so many turns; fewer when no example changes its cluster.
        rng: chooses the first centroids.

    Returns:
        (k, d), dtype of x.
    """
    centroids = x[torch.randperm(len(x), generator=rng)[:k].to(x.device)].clone()
    before: Tensor | None = None
    for _ in range(iterations):
        nearest = assign(x, centroids)
        if before is not None and torch.equal(nearest, before):
            break
        before = nearest
        sums = torch.zeros_like(centroids, dtype=torch.float64).index_add_(0, nearest, x.double())
        counts = torch.bincount(nearest, minlength=k)
        filled = counts > 0
        centroids[filled] = (sums[filled] / counts[filled, None]).to(x.dtype)
    return centroids


def assign(x: Tensor, centroids: Tensor) -> Tensor:
    """Return the index of the centroid nearest to each example, (n,) int64.

    argmin_j ‖x_i − c_j‖² = argmin_j ½‖c_j‖² − x_i·c_j
    """
    half_norms = centroids.square().sum(dim=1) / 2
    parts = [torch.addmm(half_norms, part, centroids.T, alpha=-1).argmin(dim=1) for part in x.split(_ROWS)]
    return torch.cat(parts)
