"""Everything that is said of samples besides the Parzen figure: a bound on JSD, overlap with the data, and MMD."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gancli.data.dataset import Dataset
from gancli.data.samples import SamplesFile
from gancli.evaluate.classifier import JsdBound, jsd_lower_bound
from gancli.evaluate.manifold import PAPER_NEIGHBOURS, Overlap, overlap
from gancli.evaluate.mmd import Discrepancy, discrepancy
from gancli.evaluate.scoring import beware_of_unit, in_shape, preprocessing_of


@dataclass(frozen=True)
class Evaluation:
    """How samples compare with a data set's test examples.

    Attributes:
        jsd: a discriminator's lower bound on the Jensen–Shannon divergence.
        overlap: precision, recall, density and coverage, by Euclidean distance in the space the networks saw.
        mmd: maximum mean discrepancy.
        num_data: test examples.
        num_samples: samples.
        warnings: sentences on what makes the figures hard to read.
        seconds: wall time.
    """

    jsd: JsdBound
    overlap: Overlap
    mmd: Discrepancy
    num_data: int
    num_samples: int
    warnings: tuple[str, ...]
    seconds: float


def evaluate_samples(
    file: SamplesFile,
    dataset: Dataset,
    *,
    neighbours: int = PAPER_NEIGHBOURS,
    bandwidth: float | None = None,
    preprocessing: str | None = None,
    seed: int = 1,
    device: torch.device | None = None,
    backend: str = "auto",
    note: Callable[[str], None] = lambda sentence: None,
) -> Evaluation:
    """Compare samples of any model with the test examples of a data set, none of which a generator has seen.

    Args:
        file: the samples; uint8 pixels are preprocessed as the data are, floats are taken to be in that space.
        dataset: what they imitate; of TFD the fold that was loaded.
        neighbours: k of precision, recall, density and coverage.
        bandwidth: of MMD's kernel; None takes the median distance within the data.
        preprocessing: "scale", "gcn" or "none" where the file does not say.
        seed: of the discriminator.
        device: where to compute; None for the CPU.
        backend: "auto", "torch" or "native".
        note: told what is being computed.

    Raises:
        DataError: samples and data have different shapes.
        InputError: too few samples or test examples.
        UsageError: the preprocessing contradicts the file's.
    """
    device = device or torch.device("cpu")
    start = time.perf_counter()
    samples = in_shape(file.samples, dataset).to(device)
    prepare = preprocessing_of(file, dataset, preprocessing)
    data = prepare(dataset.test.to(device))
    samples = prepare(samples) if samples.dtype == torch.uint8 else samples
    note("looking for neighbours")
    shared = overlap(data, samples, neighbours)
    note("training a fresh discriminator")
    jsd = jsd_lower_bound(data, samples, seed=seed, backend=backend)
    note("comparing kernel means")
    mmd = discrepancy(data, samples, bandwidth, backend=backend)
    return Evaluation(
        jsd,
        shared,
        mmd,
        num_data=len(data),
        num_samples=len(samples),
        warnings=(*beware_of_unit(samples, data), *_beware_of_few(len(samples), len(data))),
        seconds=time.perf_counter() - start,
    )


def _beware_of_few(samples: int, data: int) -> list[str]:
    """Notice so few samples that they cannot be near all the data."""
    if 2 * samples >= data:
        return []
    return [
        f"{samples:,} samples against {data:,} test examples: recall and coverage ask for a sample near each example, "
        "and are low for so few; draw more with --num-samples."
    ]
