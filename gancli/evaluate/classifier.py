"""A lower bound on the Jensen–Shannon divergence from a fresh discriminator: what D can tell is really there."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gancli.errors import InputError
from gancli.nets.networks import Discriminator, initialise_network
from gancli.presets import resolve
from gancli.train.losses import discriminator_loss
from gancli.train.seeds import make_rng

LEAST_POINTS = 100  # in each set: below that, halves of halves say nothing
_FEW_VALUES = 16  # per example: up to this many the network for numbers is used, beyond it the one for images
_SURE = math.log(999)  # logits are cut here, D within 0.001 of 0 and 1, so that no single point decides the mean
_NORMAL_95 = 1.959963984540054
_MISSED = 0.025  # probability with which n points may show nothing of a part that an end of the interval allows for
_BATCH, _RATE, _MOST_EPOCHS, _PATIENCE = 100, 1e-3, 60, 6
_AT_ONCE = 1000


@dataclass(frozen=True)
class JsdBound:
    """What a discriminator proves about JSD(p_data ‖ p_g).

    V(D, G) ≤ C(G) = −log 4 + 2·JSD for every D, so (V + log 4)/2 is at most JSD, whatever D was found.

    Attributes:
        bound: (V + log 4)/2 on points that D has not seen, nats; JSD lies between it and log 2, up to its error.
        standard_error: of `bound`, over the points; 0 where all of them are as clear as can be.
        low: lower end of its 95 % confidence interval, at least 0: the divergence is at least this. The interval is the
            normal one, widened by what a share of points too rare to be seen may add (see `half_width`).
        high: upper end of that interval, at most log 2. No bound on JSD: a better D might find more.
        accuracy: share of unseen points that D assigns to the right side.
        num_data: data points that the bound was taken on.
        num_samples: samples that it was taken on.
        epochs: passes over the training half after which D was taken.
    """

    bound: float
    standard_error: float
    low: float
    high: float
    accuracy: float
    num_data: int
    num_samples: int
    epochs: int


def jsd_lower_bound(data: Tensor, samples: Tensor, *, seed: int = 1, backend: str = "auto") -> JsdBound:
    """Train a fresh discriminator on half of held-out data and samples, and take V(D, G) on the other half.

    A fifth of the training half decides when to stop.

    Args:
        data: (m, channels, height, width) float, data that the generator was not trained on.
        samples: (n, channels, height, width) float, on the same device.
        seed: of weights, dropout, halves and minibatches.
        backend: of the network's operations.

    Raises:
        InputError: fewer than 100 points in either set.

    Source: Theorem 1 and Proposition 1 of the paper.
    """
    if min(len(data), len(samples)) < LEAST_POINTS:
        raise InputError(
            f"A classifier needs {LEAST_POINTS} points on either side or more, got {len(data)} and {len(samples)}."
        )
    rng = make_rng(seed, "classifier")
    shuffled = [points[torch.randperm(len(points), generator=rng).to(points.device)] for points in (data, samples)]
    parts = [_three_parts(points) for points in shuffled]
    centre, scale = _unit(parts[0][0])
    fit, watch, unseen = ([(one[i] - centre) / scale for one in parts] for i in range(3))
    D, epochs = _train(_network(tuple(data.shape[1:]), backend), fit, watch, rng, seed)
    real, fake = (_logits(D, points) for points in unseen)
    log_d, log_not_d = -softplus(-real), -softplus(fake)  # log D(x), log(1 - D(G(z)))
    bound = (float(log_d.mean() + log_not_d.mean()) + math.log(4)) / 2
    error = math.sqrt(float(log_d.var()) / len(real) + float(log_not_d.var()) / len(fake)) / 2
    reach = half_width(error, len(real), len(fake))
    return JsdBound(
        bound=bound,
        standard_error=error,
        low=min(max(0.0, bound - reach), math.log(2)),
        high=min(max(0.0, bound + reach), math.log(2)),
        accuracy=float(((real > 0).double().mean() + (fake < 0).double().mean()) / 2),
        num_data=len(real),
        num_samples=len(fake),
        epochs=epochs,
    )


def half_width(standard_error: float, num_data: int, num_samples: int) -> float:
    """Return how far the 95 % confidence interval of (V + log 4)/2 reaches to either side, nats.

    1.96·error + ½·log 999·Σ (1 − 0.025^(1/n)) over both sets

    log D is bounded, and skewed where D is nearly always right: a share p of points that cost log 999 each stays unseen
    with probability (1 − p)ⁿ, and then the standard error knows nothing of it. The second term allows for the largest
    share that n points miss with a probability of 2.5 %; it vanishes as 3.7·log 999/(2n).
    """
    unseen = sum(1 - math.pow(_MISSED, 1 / n) for n in (num_data, num_samples))
    return _NORMAL_95 * standard_error + 0.5 * _SURE * unseen


def _three_parts(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what D is trained on, what it is watched on, and the half that it never sees."""
    half = len(points) // 2
    watched = half // 5
    return points[watched:half], points[:watched], points[half:]


def _unit(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean point, and the root mean square distance of a value from it."""
    centre = points.mean(dim=0)
    return centre, (points - centre).square().mean().sqrt().clamp(min=1e-12)


def _network(shape: tuple[int, ...], backend: str) -> Discriminator:
    """Return the discriminator of the paper's MNIST configuration, or for a few values that of `gaussian`."""
    config = resolve("gaussian" if math.prod(shape) <= _FEW_VALUES else "mnist", None, {"backend": backend})
    channels, height, width = shape
    return Discriminator(
        config.discriminator,
        (channels, height, width),
        keep_input=config.keep_input,
        keep_hidden=config.keep_hidden,
        backend=backend,
    )


def _train(
    D: Discriminator,
    fit: list[Tensor],
    watch: list[Tensor],
    rng: torch.Generator,
    seed: int,
) -> tuple[Discriminator, int]:
    """Ascend V on `fit` until it has stopped rising on `watch`; return D at its best, and the epoch that was."""
    device = fit[0].device
    initialise_network(D, make_rng(seed, "classifier/weights"))
    D.to(device).share_rng(make_rng(seed, "classifier/dropout", device))
    rule = torch.optim.Adam(D.parameters(), lr=_RATE)
    best, best_epoch, kept = -math.inf, 0, copy.deepcopy(D.state_dict())
    steps = max(1, max(map(len, fit)) // _BATCH)
    for epoch in range(1, _MOST_EPOCHS + 1):
        D.train()
        for _ in range(steps):
            x, x_g = (points[torch.randint(len(points), (_BATCH,), generator=rng).to(device)] for points in fit)
            logits = D(torch.cat([x, x_g]))
            rule.zero_grad()
            discriminator_loss(logits[:_BATCH], logits[_BATCH:]).backward()
            rule.step()
        real, fake = (_logits(D, points) for points in watch)
        value = -float(discriminator_loss(real, fake))
        if value > best:
            best, best_epoch, kept = value, epoch, copy.deepcopy(D.state_dict())
        elif epoch - best_epoch >= _PATIENCE:
            break
    D.load_state_dict(kept)
    return D, best_epoch


@torch.no_grad()
def _logits(D: Discriminator, points: Tensor) -> Tensor:
    """Return D's logits without dropout, cut at ±log 999, (n,) float64."""
    D.eval()
    return torch.cat([D(part) for part in points.split(_AT_ONCE)]).double().clamp(-_SURE, _SURE)
