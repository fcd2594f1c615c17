"""A Parzen score from a stream of samples: any number of them, memory that does not grow.

Log-sums over parts of the samples combine exactly, log Σ = logaddexp(log Σ_1, log Σ_2), so each block of samples is
scored, folded in and forgotten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.data.dataset import Fold
from gancli.errors import InputError
from gancli.evaluate.parzen import PAPER_SIGMAS, ParzenScore, best_index, estimate, over_folds
from gancli.ops import parzen_log_sum_exp
from gancli.ops.checks import require_finite_rows
from gancli.ops.parzen import log_normaliser
from gancli.ranks import ALONE, Ranks

BLOCK = 10_000  # samples scored at once: large enough that packing the test points again for each block is nothing
_FIRST_REPORT = 1000


@dataclass(frozen=True)
class ConvergenceRow:
    """The figure after the first `num_samples` samples, with the σ that validation chooses for that many."""

    num_samples: int
    log_likelihood: float  # nats
    standard_error: float  # nats
    sigma: float


class ParzenStream:
    """Folds samples in block by block and can be asked for the score at any moment.

    Args:
        folds: prepared validation and test examples, (n, …) float; one pair, or TFD's five.
        sigmas: kernel widths to choose among.
        backend: "auto", "torch" or "native".
        make: maps what is folded in to samples, e.g. G from z; by default it is samples.
        ranks: who shares the work: all fold in the same blocks, each makes and scores its part of them.
    """

    def __init__(
        self,
        folds: Sequence[Fold],
        sigmas: Sequence[float] = PAPER_SIGMAS,
        *,
        backend: str = "auto",
        make: Callable[[Tensor], Tensor] = lambda samples: samples,
        ranks: Ranks = ALONE,
    ) -> None:
        parts = [part.flatten(1) for fold in folds for part in (fold.valid, fold.test)]
        self._sizes = [len(part) for part in parts]
        self._x = torch.cat(parts)
        self._sigmas, self._backend = sorted(float(sigma) for sigma in sigmas), backend
        self._make, self._ranks = make, ranks
        self._log_sums = torch.full(
            (len(self._sigmas), len(self._x)), -math.inf, dtype=torch.float64, device=self._x.device
        )
        self._start = time.perf_counter()
        self.num_samples = 0

    def fold_in(self, block: Tensor) -> None:
        """Add samples (n, …) float, or what they are made from; they are not kept.

        Raises:
            InputError: a sample holds NaN or infinity; the sentence has its number within the stream.
        """
        part = self._ranks.part(len(block))
        own = block[part]
        if len(own):
            samples = self._make(own).flatten(1)
            try:
                log_sums = parzen_log_sum_exp(self._x, samples, self._sigmas, backend=self._backend)
            except InputError:
                require_finite_rows("samples", samples, first=self.num_samples + part.start)
                raise
            torch.logaddexp(self._log_sums, log_sums.double(), out=self._log_sums)
        self.num_samples += len(block)

    def scores(self) -> tuple[ParzenScore, ...]:
        """Return the score so far, one per fold: σ by validation, mean and standard error on the test examples.

        Raises:
            InputError: nothing has been folded in yet.
        """
        if self.num_samples == 0:
            raise InputError("A Parzen score needs at least one sample; fold some in first.")
        normaliser = log_normaliser(self._sigmas, num_samples=self.num_samples, dimension=self._x.shape[1])
        log_sums = self._ranks.logaddexp(self._log_sums)
        log_p = (log_sums - normaliser.to(log_sums)[:, None]).split(self._sizes, dim=1)
        return tuple(self._score(valid, test) for valid, test in zip(log_p[0::2], log_p[1::2], strict=True))

    def row(self) -> ConvergenceRow:
        """Return the figure so far as a line of the convergence table."""
        scores = self.scores()
        mean, error = over_folds(scores)
        return ConvergenceRow(self.num_samples, mean, error, scores[0].estimate.sigma)

    def _score(self, valid: Tensor, test: Tensor) -> ParzenScore:
        validation: list[float] = valid.mean(dim=1).tolist()
        best = best_index(validation)
        return ParzenScore(
            estimate=estimate(test[best], self._sigmas[best]),
            refined=None,
            sigmas=self._sigmas,
            validation_log_likelihoods=validation,
            num_samples=self.num_samples,
            num_test=test.shape[1],
            num_validation=valid.shape[1],
            seconds=time.perf_counter() - self._start,
        )


def report_points(total: int) -> list[int]:
    """Return the sample counts at which to report: 1,000, 2,000, 5,000, 10,000, … and the last one, `total`."""
    points = [digit * 10**power for power in range(3, 19) for digit in (1, 2, 5)]
    return [point for point in points if _FIRST_REPORT <= point < total] + [total]


def stream_score(
    stream: ParzenStream,
    chunks: Iterable[Tensor],
    total: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> list[ConvergenceRow]:
    """Fold a stream of samples in, reporting on the way.

    Args:
        stream: where they go; asked for its scores afterwards.
        chunks: the samples, or what they are made from, in pieces of at most BLOCK, `total` in all.
        total: how many samples are to come.
        progress: called with the number of samples folded in so far.

    Returns:
        The convergence table: the figure at 1,000, 2,000, 5,000, … samples and at the end.
    """
    rows = []
    for block, report in _blocks(chunks, report_points(total)):
        stream.fold_in(block)
        progress(stream.num_samples)
        if report:
            rows.append(stream.row())
    return rows


def _blocks(chunks: Iterable[Tensor], points: Sequence[int]) -> Iterator[tuple[Tensor, bool]]:
    """Join chunks into blocks that end at every report point, with whether they do."""
    waiting: list[Tensor] = []
    done, remaining = 0, list(points)
    for whole in chunks:
        chunk = whole
        while len(chunk):
            room = remaining[0] - done - sum(map(len, waiting))
            waiting.append(chunk[:room])
            chunk = chunk[room:]
            held = sum(map(len, waiting))
            report = done + held == remaining[0]
            if report or held >= BLOCK:
                yield torch.cat(waiting), report
                done, waiting = done + held, []
                remaining = remaining[1:] if report else remaining
