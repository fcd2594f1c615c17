"""The Parzen figure of a samples file or a run: of samples that are kept, or of any number of a run's that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gancli.data.dataset import Dataset
from gancli.data.registry import load
from gancli.evaluate.parzen import PAPER_SIGMAS
from gancli.evaluate.scoring import (
    PAPER_NUM_SAMPLES,
    ScoredSamples,
    beware_of_sigma,
    beware_of_unit,
    dataset_of,
    prepared_folds,
    require_own_preprocessing,
    score_samples,
    summarise,
)
from gancli.evaluate.streaming import ConvergenceRow
from gancli.ops import native
from gancli.ranks import ALONE, Ranks
from gancli.train.generate import CHUNK, TrainedGenerator
from gancli.train.run_folder import open_run
from gancli.train.sampling import draw, open_generator, samples_to_score, stream_of_run
from gancli.train.setup import resolve_device

Counting = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class ParzenRequest:
    """What to score and how; what is None, the samples file, the run or the protocol decides.

    Attributes:
        samples: a samples file or a folder of images, from any model.
        run: a run folder; where neither is given, the newest run.
        dataset: what the samples imitate.
        sigmas: kernel widths to choose among, or a single one.
        num_samples: how many; a run's are streamed where that is more than the protocol's 10,000.
        num_validation: examples that choose σ.
        fold: TFD's fold.
        preprocessing: "scale", "gcn" or "none", the space of samples from elsewhere.
        seed: of the samples that a run draws.
        data_dir: where data sets lie.
        device: where to draw and compute, by name.
        backend: "auto", "torch" or "native".
    """

    samples: Path | None = None
    run: Path | None = None
    dataset: str | None = None
    sigmas: Sequence[float] = PAPER_SIGMAS
    num_samples: int | None = None
    num_validation: int | None = None
    fold: int | None = None
    preprocessing: str | None = None
    seed: int | None = None
    data_dir: str | None = None
    device: str = "auto"
    backend: str = "auto"


@dataclass(frozen=True)
class ParzenFigure:
    """What came out.

    Attributes:
        dataset: name of the data set that the samples were scored against.
        run: folder of the run that they come from, as far as that is known.
        scored: the figure, with what to beware of.
        convergence: the figure over the number of samples, where they were streamed.
        backend: "torch" or "native", whichever computed it.
    """

    dataset: str
    run: str | None
    scored: ScoredSamples
    convergence: list[ConvergenceRow] | None
    backend: str


def score(
    request: ParzenRequest,
    *,
    ranks: Ranks = ALONE,
    counting: Counting = lambda what, total: nullcontext(lambda done: None),
) -> ParzenFigure:
    """Score samples of any model, or of a run, by the protocol of Table 1.

    Args:
        request: what to score and how.
        ranks: who shares the work.
        counting: begins to count things of which there are many; yields a function that takes how many are done.

    Raises:
        UsageError: parts of the request contradict each other or the samples file.
        DataError: samples, run or data set cannot be read, or their shapes differ.
    """
    request = replace(request, device=ranks.device(request.device))
    if request.samples is None and (request.num_samples or 0) > PAPER_NUM_SAMPLES:
        return _score_stream(request, ranks, counting)
    return _score_kept(request, ranks)


def _score_kept(request: ParzenRequest, ranks: Ranks) -> ParzenFigure:
    """Score samples that all lie in memory."""
    device = resolve_device(request.device)
    file, data_dir = samples_to_score(
        request.samples,
        request.run,
        request.num_samples,
        request.seed,
        request.device,
        request.backend,
        request.data_dir,
        ranks,
    )
    name, beware = dataset_of(file.dataset, request.dataset, request.samples)
    scored = score_samples(
        file,
        load(name, data_dir, fold=request.fold or 0),
        sigmas=request.sigmas,
        num_validation=request.num_validation,
        fold=request.fold,
        preprocessing=request.preprocessing,
        device=device,
        backend=request.backend,
        ranks=ranks,
    )
    scored = replace(scored, warnings=(*beware, *scored.warnings))
    return ParzenFigure(name, file.run, scored, None, _backend_used(request.backend, device))


def _score_stream(request: ParzenRequest, ranks: Ranks, counting: Counting) -> ParzenFigure:
    """Score more samples than are kept: draw, fold in, forget."""
    trained = open_generator(open_run(request.run), request.device, backend=request.backend)
    require_own_preprocessing(trained.preprocessing, request.preprocessing)
    name, beware = dataset_of(trained.config.dataset, request.dataset, None)
    dataset = load(name, request.data_dir or trained.config.data_dir, fold=request.fold or 0)
    num, seed = request.num_samples or PAPER_NUM_SAMPLES, trained.config.seed if request.seed is None else request.seed
    with counting("samples", num) as progress:
        scores, rows = stream_of_run(
            trained,
            dataset,
            num,
            seed,
            sigmas=request.sigmas,
            num_validation=request.num_validation,
            fold=request.fold,
            backend=request.backend,
            ranks=ranks,
            progress=progress,
        )
    scored = summarise(scores, [*beware, *_beware_of_stream(trained, dataset, seed, request, ranks)])
    used = _backend_used(request.backend, trained.device)
    return ParzenFigure(name, str(trained.run.path), scored, rows, used)


def _beware_of_stream(
    trained: TrainedGenerator, dataset: Dataset, seed: int, request: ParzenRequest, ranks: Ranks
) -> list[str]:
    """Say of a stream's first samples what would be said of samples that are kept."""
    folds = prepared_folds(
        dataset,
        trained.preprocessing,
        num_validation=request.num_validation,
        fold=request.fold,
        device=trained.device,
    )
    first, one = draw(trained, CHUNK, seed), next(folds)
    return beware_of_unit(first, one.test) + beware_of_sigma(
        request.sigmas, first, one.valid, backend=request.backend, ranks=ranks
    )


def _backend_used(backend: str, device: torch.device) -> str:
    module = native.choose(backend, operation="parzen_log_sum_exp", device_type=device.type, supported=True, why_not="")
    return "torch" if module is None else "native"
