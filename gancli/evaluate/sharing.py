"""The work of a Parzen estimate shared among ranks; to rounding, the result is what one of them gets alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gancli.errors import InputError, UsageError
from gancli.ops import checks, parzen_log_likelihood, parzen_log_sum_exp
from gancli.ops.parzen import log_normaliser
from gancli.ranks import Ranks


def shared_log_likelihood(
    x: Tensor, samples: Tensor, sigmas: Sequence[float], *, backend: str = "auto", ranks: Ranks
) -> Tensor:
    """Evaluate parzen_log_likelihood on several ranks, each of which has all points and all samples and gets all of L.

    Samples are shared out, and the ranks' log-sums combined: log Σ = logaddexp_r(log Σ_r). Where there are more points
    than samples, the points are shared out.

    Args:
        x: (m, d) float, the points to score.
        samples: (n, d) float, the kernel centres.
        sigmas: s kernel widths.
        backend: "auto", "torch" or "native".
        ranks: who takes part.

    Returns:
        (s, m) log-likelihoods in nats; float64 where there are several ranks.

    Raises:
        InputError: as parzen_log_likelihood; rows are numbered within all of x or samples.
        UsageError: there are fewer points and fewer samples than ranks.
    """
    if ranks.size == 1:
        return parzen_log_likelihood(x, samples, sigmas, backend=backend)
    if max(len(x), len(samples)) < ranks.size:
        raise UsageError(
            f"{len(samples)} samples and {len(x)} examples cannot be shared by {ranks.size} ranks; start fewer."
        )
    share_samples = len(samples) >= len(x)
    own_x = x if share_samples else x[ranks.part(len(x))]
    own_samples = samples[ranks.part(len(samples))] if share_samples else samples
    try:
        own = parzen_log_sum_exp(own_x, own_samples, sigmas, backend=backend).double()
    except InputError:
        checks.require_finite_rows("x", x)  # it numbered the rows within this rank's part
        checks.require_finite_rows("samples", samples)
        raise
    log_sums = ranks.logaddexp(own) if share_samples else ranks.gather(own.T.contiguous(), len(x)).T
    normaliser = log_normaliser(sigmas, num_samples=len(samples), dimension=samples.shape[1])
    return log_sums - normaliser.to(log_sums)[:, None]
