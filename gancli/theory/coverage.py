"""Mode coverage in the plane: how many of the data's modes a generator makes, and how many of its samples are good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancli.nets.noise import draw_noise
from gancli.theory.play import Play
from gancli.theory.targets import Plane
from gancli.train.seeds import make_rng

NUM_SAMPLES = 2500  # as in the papers that use these data
_GOOD = 3.0  # standard deviations around a mode within which a sample counts as good
_LEAST_SHARE = 0.1  # of its fair share of samples, for a mode to count as captured


@dataclass(frozen=True)
class Coverage:
    """Which modes a set of samples shows.

    Attributes:
        step: iterations played.
        captured: modes with at least a tenth of their fair share of good samples.
        modes: how many there are.
        good: share of samples within three standard deviations of their nearest mode.
    """

    step: int
    captured: int
    modes: int
    good: float


def measure_coverage(samples: Tensor, target: Plane, step: int = 0) -> Coverage:
    """Count captured modes and good samples.

    Args:
        samples: (n, 2) float.
        target: where the modes are.
        step: for the record.

    Source: Srivastava et al. 2017 for three standard deviations; they count a mode from its first good sample on.
    """
    centres = torch.tensor(target.centres, dtype=torch.float64)
    distances = torch.cdist(samples.double(), centres, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, mode = distances.min(dim=1)
    good = nearest <= _GOOD * target.std
    counts = torch.bincount(mode[good], minlength=len(centres))
    captured = int((counts >= _LEAST_SHARE * len(samples) / len(centres)).sum())
    return Coverage(step, captured, len(centres), float(good.double().mean()))


@dataclass(frozen=True)
class PlaneResult:
    """What a game in the plane leaves.

    Attributes:
        reports: from the first moment to the last.
        clouds: the samples at these moments, (n, 2) float64 each, always from the same z.
        data: (n, 2) float64, as many data points.
    """

    reports: list[Coverage]
    clouds: list[NDArray[np.float64]]
    data: NDArray[np.float64]


def play_plane(
    target: Plane, play: Play, moments: Sequence[int], progress: Callable[[Coverage], None] = lambda report: None
) -> PlaneResult:
    """Play a game to its end, looking at its samples on the way.

    Args:
        target: the data.
        play: the game, not yet begun.
        moments: iterations after which to look, increasing; the last one is the end.
        progress: called with each report.
    """
    z = draw_noise(play.config.noise, NUM_SAMPLES, play.game.G.noise_dim, make_rng(play.config.seed, "samples"))
    reports, clouds = [], []

    def look(step: int) -> None:
        with torch.no_grad():
            samples = play.game.G(z).flatten(1)
        reports.append(measure_coverage(samples, target, step))
        clouds.append(samples.double().numpy())
        progress(reports[-1])

    play.run(moments, look)
    data = target.draw(play.config.seed)[:NUM_SAMPLES].flatten(1).double().numpy()
    return PlaneResult(reports, clouds, data)
