"""The data of the theory's games: densities known exactly, on the line and in the plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.data.gaussian import MIXTURES, Mixture, load_gaussian
from gancli.errors import UsageError

NUM_DATA = 50_000  # training examples drawn once, as in the `gaussian` data sets


@dataclass(frozen=True)
class Line:
    """A mixture on the line.

    Attributes:
        sentence: what it is.
        mixture: p_data.
        generator: the layers of a generator that can learn it.
    """

    sentence: str
    mixture: Mixture
    generator: str

    def draw(self, seed: int) -> Tensor:
        """Return the training examples, (n, 1, 1, 1) float32."""
        mixture = self.mixture
        return load_gaussian(seed, NUM_DATA, 1, 1, mixture.means, mixture.stds, mixture.weights).train


@dataclass(frozen=True)
class Plane:
    """Equal round normal modes in the plane.

    Attributes:
        sentence: what it is.
        centres: the modes' means, two numbers each.
        std: of every mode in each direction.
    """

    sentence: str
    centres: tuple[tuple[float, float], ...]
    std: float

    def draw(self, seed: int) -> Tensor:
        """Return the training examples, (n, 2, 1, 1) float32."""
        rng = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.centres), (NUM_DATA,), generator=rng)
        x = torch.tensor(self.centres)[which] + self.std * torch.randn(NUM_DATA, 2, generator=rng)
        return x.view(-1, 2, 1, 1)


_BENDING = "dense 32 tanh irange=1.5 brange=1.5, dense 32 tanh irange=0.4 brange=0.4, dense out linear irange=0.3"
_RING = tuple((2 * math.cos(i * math.pi / 4), 2 * math.sin(i * math.pi / 4)) for i in range(8))
_GRID = tuple((float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2))

TARGETS: dict[str, Line | Plane] = {
    # G starts nearly straight and to one side, as Figure 1 draws it.
    "one": Line(
        "one mode, N(0, 1)",
        Mixture((0.0,), (1.0,), (1.0,)),
        "dense 32 tanh irange=0.5 brange=0.5, dense out linear irange=0.3 bias=3",
    ),
    "several": Line("three modes", MIXTURES["gaussian-mixture"], _BENDING),
    "far": Line("two modes twenty standard deviations apart", Mixture((-5.0, 5.0), (0.5, 0.5), (0.5, 0.5)), _BENDING),
    # The sizes that papers on mode collapse use: Metz et al. 2017, Srivastava et al. 2017.
    "ring": Plane("8 modes on a ring", _RING, 0.02),
    "grid": Plane("5×5 modes on a grid", _GRID, 0.05),
}


def get_target(name: str) -> Line | Plane:
    """Return the data of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        raise UsageError(f"--data must be one of {', '.join(TARGETS)}, got {name!r}.")
    return TARGETS[name]
