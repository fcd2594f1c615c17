"""What stands beside a Parzen figure: baselines by the same protocol, curves, and the error bars it does not print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gancli.data.dataset import Dataset, Fold
from gancli.data.preprocess import Preprocessing
from gancli.evaluate.parzen import PAPER_SIGMAS, parzen_score
from gancli.evaluate.scoring import prepared_folds
from gancli.reproduce.baselines import BASELINES, KMEANS_ITERATIONS, Baseline
from gancli.reproduce.kept import Kept, file_sha256
from gancli.train.generate import TrainedGenerator, draw_samples
from gancli.train.sampling import draw, stream_of_run
from gancli.train.seeds import make_rng

CURVE_SAMPLES = 1_000_000  # how far the curve over the number of samples goes
DRAWS = 10  # independent sets of samples for the error bar over draws
_SEED = 0  # of the baselines' own randomness

Say = Callable[[str], None]


def baseline_rows(
    kept: Kept, dataset: Dataset, prepare: Preprocessing, num: int, device: torch.device, backend: str, say: Say
) -> dict[str, dict[str, Any]]:
    """Score every baseline by the authors' protocol.

    Args:
        kept: where rows that are known already lie.
        dataset: training images that baselines are made of, test images that they are scored on.
        prepare: the networks' preprocessing.
        num: samples of each.
        device: where to compute.
        backend: "auto", "torch" or "native".
        say: takes a sentence before each row that is not known yet.

    Returns:
        A ParzenScore as plain values by the name of the baseline.
    """
    inputs = {"dataset": dataset.name, "num": num, "seed": _SEED, "kmeans_iterations": KMEANS_ITERATIONS}

    def compute(baseline: Baseline) -> dict[str, Any]:
        say(f"scoring {baseline.name}: {baseline.sentence}")
        samples = baseline.draw(prepare(dataset.train.to(device)), num, make_rng(_SEED, f"baseline/{baseline.name}"))
        fold = _only_fold(dataset, prepare, device)
        return asdict(parzen_score(samples, fold.test, fold.valid, backend=backend))

    return {baseline.name: kept.get(baseline.name, inputs, partial(compute, baseline)) for baseline in BASELINES}


def figure_over_draws(kept: Kept, trained: TrainedGenerator, dataset: Dataset, backend: str, say: Say) -> list[float]:
    """Return the test figure, in nats, of each of DRAWS independent sets of samples from one generator."""

    def compute() -> dict[str, Any]:
        say(f"scoring {DRAWS} independent draws of samples")
        fold = _only_fold(dataset, trained.preprocessing, trained.device)
        scores = [parzen_score(_draw_set(trained, i), fold.test, fold.valid, backend=backend) for i in range(DRAWS)]
        return {"log_likelihoods": [score.estimate.log_likelihood for score in scores]}

    values: list[float] = kept.get("draws", {**_identity(trained), "draws": DRAWS}, compute)["log_likelihoods"]
    return values


def figure_on_training_images(
    kept: Kept, trained: TrainedGenerator, dataset: Dataset, backend: str, say: Say
) -> dict[str, Any]:
    """Return the score of a run's samples on as many training images as there are test images, as plain values."""

    def compute() -> dict[str, Any]:
        say("scoring training images under the model")
        seen = trained.preprocessing(dataset.train[: len(dataset.test)].to(trained.device))
        fold = _only_fold(dataset, trained.preprocessing, trained.device)
        samples = draw(trained, trained.config.num_samples, trained.config.seed)
        return asdict(parzen_score(samples, seen, fold.valid, backend=backend))

    return kept.get("on training images", _identity(trained), compute)


def figure_over_samples(
    kept: Kept,
    trained: TrainedGenerator,
    dataset: Dataset,
    most: int,
    backend: str,
    progress: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Return how the figure grows with the number of samples.

    Args:
        kept: where the answer lies if it is known.
        trained: the generator.
        dataset: what it was trained on.
        most: the last number of samples.
        backend: "auto", "torch" or "native".
        progress: called with the number of samples scored so far.

    Returns:
        Rows of num_samples, log_likelihood, standard_error (nats) and sigma.
    """

    def compute() -> dict[str, Any]:
        seed = trained.config.seed
        _, rows = stream_of_run(trained, dataset, most, seed, sigmas=PAPER_SIGMAS, backend=backend, progress=progress)
        return {"rows": [vars(row) for row in rows]}

    rows: list[dict[str, Any]] = kept.get("over samples", {**_identity(trained), "most": most}, compute)["rows"]
    return rows


def _identity(trained: TrainedGenerator) -> dict[str, Any]:
    """Return what tells a checkpoint and its protocol from others."""
    return {
        "checkpoint": file_sha256(trained.run.chosen),
        "num_samples": trained.config.num_samples,
    }


def _draw_set(trained: TrainedGenerator, number: int) -> Tensor:
    rng = make_rng(trained.config.seed, f"draw/{number}", trained.device)
    return draw_samples(trained.G, trained.config.noise, trained.config.num_samples, rng)


def _only_fold(dataset: Dataset, prepare: Preprocessing, device: torch.device) -> Fold:
    (fold,) = prepared_folds(dataset, prepare, fold=0 if dataset.folds else None, device=device)
    return fold
