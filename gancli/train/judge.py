"""What is made of a generator at the end of an epoch and of a run: its picture, its validation and its test score."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gancli.config import Config
from gancli.data.dataset import Dataset
from gancli.data.preprocess import Preprocessing
from gancli.evaluate.parzen import PAPER_SIGMAS, ParzenScore, best_index, mean_log_likelihoods, parzen_score
from gancli.evaluate.scoring import validation_size
from gancli.nets.networks import Generator
from gancli.ranks import ALONE, Ranks
from gancli.train.generate import draw_samples
from gancli.train.pictures import save_samples_picture
from gancli.train.seeds import make_rng

GRID = 100  # samples in an epoch's picture of images
DENSITY = 10_000  # samples in an epoch's picture of one-dimensional data


class Judge:
    """Draws from a generator and compares with the data; always from the same z, so that epochs can be compared."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        preprocessing: Preprocessing,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.dataset, self.preprocessing = config, dataset, preprocessing
        self.device, self.ranks = device, ranks

    def picture(self, G: Generator, path: Path) -> Tensor:
        """Write the epoch's picture; returns its samples."""
        rng = make_rng(self.config.seed, "picture", self.device)
        num = DENSITY if self.dataset.shape == (1, 1, 1) else GRID
        x = draw_samples(G, self.config.noise, num, rng)
        save_samples_picture(path, x, self.preprocessing, self.dataset.train)
        return x

    def validate(self, G: Generator) -> tuple[float, float]:
        """Return the validation Parzen log-likelihood at the best σ of the paper's grid, and that σ."""
        rng = make_rng(self.config.seed, "validation", self.device)
        samples = draw_samples(G, self.config.noise, self.config.num_samples, rng, self.ranks)
        valid = self._valid()
        values = mean_log_likelihoods(valid, samples, PAPER_SIGMAS, backend=self.config.backend, ranks=self.ranks)
        best = best_index(values)
        return values[best], PAPER_SIGMAS[best]

    def score(self, samples: Tensor) -> ParzenScore:
        """Score final samples on the test examples."""
        test = self._prepared(self.dataset.test)
        return parzen_score(samples, test, self._valid(), backend=self.config.backend, ranks=self.ranks)

    def _valid(self) -> Tensor:
        """Return the validation examples that choose σ and the best checkpoint."""
        size = validation_size(self.dataset, self.config.num_validation, len(self.dataset.valid))
        return self._prepared(self.dataset.valid[:size])

    def _prepared(self, raw: Tensor) -> Tensor:
        return self.preprocessing(raw.to(self.device))
