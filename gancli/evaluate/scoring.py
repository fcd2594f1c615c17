"""A Parzen score for a samples file: the data set it belongs to, its preprocessing, folds, and what to beware of."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gancli.data.dataset import Dataset, Fold
from gancli.data.preprocess import Preprocessing, make_preprocessing
from gancli.data.registry import is_path
from gancli.data.samples import SamplesFile
from gancli.errors import DataError, UsageError
from gancli.evaluate.parzen import (
    PAPER_NUM_VALIDATION,
    PAPER_SIGMAS,
    ParzenScore,
    best_index,
    mean_log_likelihoods,
    over_folds,
    parzen_score,
)
from gancli.ranks import ALONE, Ranks

PAPER_NUM_SAMPLES = 10_000
# A σ given by hand that loses this much against the paper's grid was hardly meant; on MNIST the grid itself is within
# about 12 nats of the best σ.
_SUSPICIOUS_LOSS = 50.0
# Samples are in another unit when one value is this many times the data's range outside of it, or when so many values
# are a little outside: those of a tanh are in [-1, 1], and most of an image lies below 0. A normal distribution fitted
# to each pixel of MNIST, in the right unit, has 0.16 of its values there.
_FAR, _OUTSIDE, _MANY, _FLAT = 2.0, 0.05, 0.25, 0.05


@dataclass(frozen=True)
class ScoredSamples:
    """The score of a samples file.

    Attributes:
        scores: one, or one per fold of TFD.
        log_likelihood: mean over the test set, or over folds, nats.
        standard_error: over test examples; over folds where there are several.
        warnings: sentences on what makes the figure hard to compare.
    """

    scores: tuple[ParzenScore, ...]
    log_likelihood: float
    standard_error: float
    warnings: tuple[str, ...] = field(default=())


def validation_size(dataset: Dataset, wanted: int | None, available: int) -> int:
    """Return how many validation examples choose σ: as wanted, else the first 1,000, or a fold's whole split.

    Source: parzen_ll.py of the released code.
    """
    default = available if dataset.folds else PAPER_NUM_VALIDATION
    return min(wanted or default, available)


def score_samples(
    file: SamplesFile,
    dataset: Dataset,
    *,
    sigmas: Sequence[float] = PAPER_SIGMAS,
    num_validation: int | None = None,
    fold: int | None = None,
    preprocessing: str | None = None,
    device: torch.device | None = None,
    backend: str = "auto",
    ranks: Ranks = ALONE,
) -> ScoredSamples:
    """Score samples of any model against a data set's test examples by the authors' protocol.

    Args:
        file: the samples; uint8 pixels are preprocessed as the data are, floats are taken to be in that space.
        dataset: what they are scored against.
        sigmas: the grid, or a single σ.
        num_validation: examples that choose σ; None for the protocol's.
        fold: TFD's fold; None for all of them.
        preprocessing: "scale", "gcn" or "none" where the file does not say.
        device: where to compute; None for the CPU.
        backend: "auto", "torch" or "native".
        ranks: who shares the work.

    Raises:
        DataError: samples and data have different shapes.
        UsageError: the preprocessing contradicts the file's.
    """
    device = device or torch.device("cpu")
    samples = in_shape(file.samples, dataset).to(device)
    prepare = preprocessing_of(file, dataset, preprocessing)
    samples = prepare(samples) if samples.dtype == torch.uint8 else samples
    scores = []
    warnings = beware_of_unit(samples, prepare(dataset.test[:PAPER_NUM_VALIDATION].to(device)))
    for one in prepared_folds(dataset, prepare, num_validation=num_validation, fold=fold, device=device):
        scores.append(parzen_score(samples, one.test, one.valid, sigmas=sigmas, backend=backend, ranks=ranks))
        if len(scores) == 1:
            warnings += beware_of_sigma(sigmas, samples, one.valid, backend=backend, ranks=ranks)
    return summarise(scores, warnings)


def summarise(scores: Sequence[ParzenScore], warnings: Sequence[str] = ()) -> ScoredSamples:
    """Return the figure of one score, or the mean and standard error across the folds of several.

    Args:
        scores: one, or one per fold.
        warnings: sentences to hand on before those about the scores themselves.
    """
    mean, error = over_folds(scores)
    beware = [sentence for score in scores for sentence in _beware_of_score(score)]
    return ScoredSamples(tuple(scores), mean, error, (*warnings, *dict.fromkeys(beware)))


def in_shape(samples: Tensor, dataset: Dataset) -> Tensor:
    """Return samples (n, …) in the shape of a data set's examples; flat rows hold channel by channel, row by row.

    Raises:
        DataError: they cannot be compared with it.
    """
    if tuple(samples.shape[1:]) == (1, 1, math.prod(dataset.shape)):  # as arrays of rows are read
        samples = samples.reshape(-1, *dataset.shape)
    require_shape(tuple(samples.shape[1:]), dataset)
    return samples


def require_shape(shape: tuple[int, ...], dataset: Dataset) -> None:
    """Raise DataError unless samples of that shape can be compared with a data set."""
    if shape != dataset.shape:
        raise DataError(
            f"The samples have shape {shape} (channels, height, width), {dataset.name} has {dataset.shape}; "
            "name the data set that they imitate with --dataset, or bring them to (n, channels, height, width), or to "
            f"rows (n, {math.prod(dataset.shape)})."
        )


def prepared_folds(
    dataset: Dataset,
    prepare: Preprocessing,
    *,
    num_validation: int | None = None,
    fold: int | None = None,
    device: torch.device | None = None,
) -> Iterator[Fold]:
    """Yield (valid, test) as the networks see them: a data set's one pair, or TFD's folds one after another.

    Raises:
        UsageError: there is no such fold.
    """
    for one in _folds(dataset, fold):
        valid = one.valid[: validation_size(dataset, num_validation, len(one.valid))]
        yield Fold(prepare(valid.to(device)), prepare(one.test.to(device)))


def _folds(dataset: Dataset, fold: int | None) -> tuple[Fold, ...]:
    if not dataset.folds:
        return (Fold(dataset.valid, dataset.test),)
    if fold is None:
        return dataset.folds
    if not 0 <= fold < len(dataset.folds):
        raise UsageError(f"--fold must be 0 to {len(dataset.folds) - 1}, got {fold}.")
    return (dataset.folds[fold],)


def dataset_of(made_for: str | None, wanted: str | None, path: Path | None) -> tuple[str, list[str]]:
    """Return the name of the data set that samples imitate, as wanted or as they say, and what to beware of.

    Args:
        made_for: the data set that the samples' file or run names.
        wanted: the one that was asked for.
        path: where the samples come from.

    Raises:
        UsageError: neither is known.
    """
    name = wanted or made_for
    if name is None:
        raise UsageError(f"{path} does not say what it imitates; name the data set with --dataset.")
    if made_for is None or _place(made_for) == _place(name):
        return name, []
    return name, [f"The samples were made for {made_for} and are compared with {name}."]


def _place(name: str) -> str:
    """Return a data set's name, or of one's own data where they lie, however that was written."""
    return os.path.abspath(name) if is_path(name) else name


def preprocessing_of(file: SamplesFile, dataset: Dataset, kind: str | None) -> Preprocessing:
    """Return the file's own preprocessing, else the one asked for, else pixels in [0, 1]."""
    if not file.preprocessing:
        return make_preprocessing(kind or ("scale" if dataset.train.dtype == torch.uint8 else "none"), dataset)
    own = Preprocessing.from_dict(file.preprocessing)
    require_own_preprocessing(own, kind)
    return own


def require_own_preprocessing(own: Preprocessing, kind: str | None) -> None:
    """Refuse to take samples that say what they were made with for something else."""
    if kind is not None and kind != own.kind:
        raise UsageError(f"--preprocessing {kind} contradicts the samples, which were made with {own.kind}.")


def beware_of_unit(samples: Tensor, data: Tensor) -> list[str]:
    """Notice samples that are not in the unit of the data: far or often outside its range, or in a small part of it."""
    low, high = float(samples.min()), float(samples.max())
    data_low, data_high = float(data.min()), float(data.max())
    far, outside = (share * (data_high - data_low) for share in (_FAR, _OUTSIDE))
    flat = high - low < _FLAT * (data_high - data_low)  # divided by 255 once too often, or 0 and 1 taken for bytes
    if not flat and data_low - far <= low and high <= data_high + far:
        beyond = (samples < data_low - outside) | (samples > data_high + outside)
        if float(beyond.float().mean()) < _MANY:
            return []
    return [
        f"The samples range from {low:.4g} to {high:.4g}, the data from {data_low:.4g} to {data_high:.4g}; "
        "are they in the same unit?"
    ]


def beware_of_sigma(
    sigmas: Sequence[float], samples: Tensor, valid: Tensor, *, backend: str = "auto", ranks: Ranks = ALONE
) -> list[str]:
    """Notice a σ given by hand that cannot have been meant; nothing to say where there is a grid.

    Args:
        sigmas: the grid, or a single σ.
        samples: in the space of the networks.
        valid: validation examples, likewise.
        backend: "auto", "torch" or "native".
        ranks: who shares the work.
    """
    if len(sigmas) > 1:
        return []
    given, *others = mean_log_likelihoods(valid, samples, (*sigmas, *PAPER_SIGMAS), backend=backend, ranks=ranks)
    best = best_index(others)
    if others[best] - given < _SUSPICIOUS_LOSS:
        return []
    return [
        f"σ = {sigmas[0]:.4g} gives {given:,.1f} nats on the validation examples from {len(samples):,} samples, "
        f"σ = {PAPER_SIGMAS[best]:.4g} of the paper's grid {others[best]:,.1f}; leave --sigma out to choose it."
    ]


def beware_of_edge(score: ParzenScore) -> list[str]:
    """Notice a best σ at an edge of the grid."""
    if not score.at_edge:
        return []
    return [f"The best σ = {score.estimate.sigma:.4g} is at an edge of the grid; widen it with --sigmas lo:hi:n."]


def _beware_of_score(score: ParzenScore) -> list[str]:
    """Notice a best σ at an edge of the grid, and a sample count that compares with nothing published."""
    found = beware_of_edge(score)
    if score.num_samples != PAPER_NUM_SAMPLES:
        found.append(
            f"Made from {score.num_samples:,} samples; published figures use {PAPER_NUM_SAMPLES:,}, and more samples "
            "always raise the figure."
        )
    return found
