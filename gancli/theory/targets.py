"""The data of the theory's games: densities known exactly, on the line and in the plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gancli.data.gaussian import Mixture, load_gaussian
from gancli.errors import UsageError

NUM_DATA = 50_000  # training examples drawn once, as in the `gaussian` data sets


@dataclass(frozen=True)
class Rules:
    """What a game is played with, found by trial for its data.

    Attributes:
        generator: the layers of G.
        discriminator: the layers of D.
        lr: learning rate of both.
        lr_decay: what it is divided by at every iteration.
        k: D's steps per iteration.
        steps: iterations.
        seed: of everything; another may end elsewhere.
    """

    generator: str
    discriminator: str
    lr: float
    lr_decay: float
    k: int
    steps: int
    seed: int


@dataclass(frozen=True)
class Line:
    """A mixture on the line.

    Attributes:
        sentence: what it is.
        mixture: p_data.
        rules: of its game.
    """

    noise_dim: ClassVar[int] = 1
    sentence: str
    mixture: Mixture
    rules: Rules

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
        rules: of its game.
    """

    noise_dim: ClassVar[int] = 2
    sentence: str
    centres: tuple[tuple[float, float], ...]
    std: float
    rules: Rules

    def draw(self, seed: int) -> Tensor:
        """Return the training examples, (n, 2, 1, 1) float32."""
        rng = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.centres), (NUM_DATA,), generator=rng)
        x = torch.tensor(self.centres)[which] + self.std * torch.randn(NUM_DATA, 2, generator=rng)
        return x.view(-1, 2, 1, 1)


_BENDING = "dense 32 tanh irange=1.5 brange=1.5, dense 32 tanh irange=0.4 brange=0.4, dense out linear irange=0.3"
# Smooth networks have smooth densities. Drawn biases spread the units' bends over the line; without, all bend at 0.
_SMOOTH_D = "dense 48 tanh irange=2 brange=8, dense 48 tanh irange=0.2, dense 1 sigmoid irange=0.2"
_RING = tuple((2 * math.cos(i * math.pi / 4), 2 * math.sin(i * math.pi / 4)) for i in range(8))
_GRID = tuple((float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2))

TARGETS: dict[str, Line | Plane] = {
    "one": Line(
        "one mode, N(0, 1)",
        Mixture((0.0,), (1.0,), (1.0,)),
        # G starts nearly straight and to one side, as Figure 1 draws it.
        Rules(
            generator="dense 32 tanh irange=0.5 brange=0.5, dense out linear irange=0.3 bias=3",
            discriminator=_SMOOTH_D,
            lr=4e-3,
            lr_decay=1.0015,
            k=5,
            steps=800,
            seed=2,
        ),
    ),
    "several": Line(
        "three modes that touch",
        Mixture((-3.0, 0.0, 3.0), (0.7, 0.7, 0.7), (0.3, 0.4, 0.3)),
        Rules(_BENDING, _SMOOTH_D, lr=2e-3, lr_decay=1.0015, k=5, steps=800, seed=1),
    ),
    "far": Line(
        "two modes twenty standard deviations apart",
        Mixture((-5.0, 5.0), (0.5, 0.5), (0.5, 0.5)),
        Rules(_BENDING, _SMOOTH_D, lr=4e-3, lr_decay=1.0015, k=5, steps=800, seed=1),
    ),
    # The sizes that papers on mode collapse use: Metz et al. 2017, Srivastava et al. 2017.
    "ring": Plane(
        "8 modes on a ring",
        _RING,
        0.02,
        Rules(
            generator="dense 128 relu irange=0.2 brange=0.2, dense 128 relu irange=0.15 brange=0.1, "
            "dense out linear irange=0.15",
            discriminator="dense 128 relu irange=0.7 brange=2, dense 128 relu irange=0.15 brange=0.1, "
            "dense 1 sigmoid irange=0.1",
            lr=1e-3,
            lr_decay=1.001,
            k=1,
            steps=3000,
            seed=2,
        ),
    ),
    "grid": Plane(
        "5×5 modes on a grid",
        _GRID,
        0.05,
        # D's first layer is steep and bends all over the grid; G starts spread out, and moves slowly. Still about half
        # of the modes are lost, and more are as samples get better.
        Rules(
            generator="dense 64 tanh irange=1 brange=1, dense 64 tanh irange=0.3 brange=0.3, "
            "dense out linear irange=0.8",
            discriminator="dense 128 relu irange=2 brange=8, dense 128 relu irange=0.1 brange=0.1, "
            "dense 1 sigmoid irange=0.1",
            lr=6e-4,
            lr_decay=1.0004,
            k=2,
            steps=2500,
            seed=2,
        ),
    ),
}


def get_target(name: str) -> Line | Plane:
    """Return the data of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        raise UsageError(f"--data must be one of {', '.join(TARGETS)}, got {name!r}.")
    return TARGETS[name]
