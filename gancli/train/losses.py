"""The value function of the game, from D's logits, each expression beside the paper's.

D(x) = sigmoid(l), so log D = −softplus(−l) and log(1 − D) = −softplus(l): exact where D is sure, where the
logarithm of a rounded probability is not.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gancli.errors import UsageError


def discriminator_loss(real: Tensor, fake: Tensor, factor: float = 1.0) -> Tensor:
    """Return what D descends, the negative of the value function V(D, G) times a factor.

    −factor · (1/m) Σ [log D(x) + log(1 − D(G(z)))]

    Args:
        real: (m,) logits of D on data x.
        fake: (m,) logits of D on samples G(z).
        factor: 1 in the paper; 0.5 in the released code, the mean of two cross-entropies.

    Returns:
        Scalar, in nats.

    Source: Algorithm 1; AdversaryCost2 of the released code.
    """
    return factor * (F.softplus(-real).mean() + F.softplus(fake).mean())  # -log D(x) - log(1 - D(G(z)))


def generator_loss(fake: Tensor, kind: str) -> Tensor:
    """Return what G descends.

    minimax: (1/m) Σ log(1 − D(G(z))); non-saturating: −(1/m) Σ log D(G(z)), with the same fixed point and strong
    gradients while D(G(z)) is near 0.

    Args:
        fake: (m,) logits of D on samples G(z).
        kind: "minimax" or "non-saturating".

    Returns:
        Scalar, in nats.

    Raises:
        UsageError: `kind` is neither.

    Source: Algorithm 1 and section 3 of the paper.
    """
    if kind == "minimax":
        return -F.softplus(fake).mean()  # log(1 - D(G(z)))
    if kind == "non-saturating":
        return F.softplus(-fake).mean()  # -log D(G(z))
    raise UsageError(f"--loss must be minimax or non-saturating, got {kind!r}.")
