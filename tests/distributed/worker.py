"""What each rank of a test's job runs; started by conftest.py with globals in capitals."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gancli.ranks
from gancli.cli import main
from gancli.config import Config
from gancli.data.dataset import Fold
from gancli.evaluate.parzen import parzen_score
from gancli.evaluate.streaming import ParzenStream, stream_score
from gancli.nets import Discriminator, Generator, initialise_network
from gancli.ranks import ALONE, Ranks, joined
from gancli.train.algorithm1 import ITERATIONS, Game
from gancli.train.generate import draw_samples
from gancli.train.gradient_sums import GradientSums
from gancli.train.optimisers import Pylearn2Momentum
from gancli.train.shared_momentum import shared_momentum
from gancli.train.shared_rows import shared_rows
from gancli.train.trainer import Trainer

SHAPE = (1, 3, 3)
BATCH = 8


def play(
    dtype: torch.dtype, updates: str, bound: float | None, shares_updates: bool, ranks: Ranks
) -> dict[str, Tensor]:
    """Three iterations on given noise and data, of which each rank sees its part."""
    G = Generator("dense 6 relu irange=0.5, dense out sigmoid irange=0.5", 4, SHAPE)
    D = Discriminator("maxout 5x3 irange=0.5, dense 1 sigmoid irange=0.5", SHAPE)
    rng = torch.Generator().manual_seed(1)
    for network in (G, D):
        initialise_network(network, rng)
        network.to(dtype)
    together = shared_momentum(Config(lr=0.3, momentum=0.5), ranks, (G, D)) if shares_updates else None
    rules = together or [Pylearn2Momentum(network.parameters(), 0.3, 0.5) for network in (G, D)]
    sums = GradientSums(ALONE if together else ranks, (G, D))
    game = Game(G, D, *rules, k=2, max_gradient_norm=bound, share=1 / ranks.size, sum_gradients=sums)
    zs = iter(torch.randn(9, BATCH, 4, dtype=torch.float64, generator=rng).to(dtype))
    xs = iter(torch.rand(9, BATCH, *SHAPE, dtype=torch.float64, generator=rng).to(dtype))
    own = ranks.part(BATCH)
    for _ in range(3):
        ITERATIONS[updates](game, lambda: next(zs)[own], lambda: next(xs)[own])
    return {
        f"{letter} {name}": p.detach() for letter, net in (("G", G), ("D", D)) for name, p in net.named_parameters()
    }


def cloud(n: int, seed: int) -> Tensor:
    return torch.rand(n, 1, 3, 4, generator=torch.Generator().manual_seed(seed))


def score(num: int, ranks: Ranks) -> dict[str, Any]:
    """A score of samples that all ranks have, with more samples than points and with fewer, and of a stream."""
    valid, test, samples = cloud(50, 2), cloud(70, 3), cloud(num, 1)
    whole = parzen_score(samples, test, valid, ranks=ranks)
    few = parzen_score(samples[:33], test, valid, ranks=ranks)
    stream = ParzenStream([Fold(valid, test)], make=lambda block: block + 0, ranks=ranks)
    rows = stream_score(stream, samples.split(1000), num)
    return {
        "whole": [*whole.validation_log_likelihoods, whole.estimate.log_likelihood, whole.estimate.standard_error],
        "few": [*few.validation_log_likelihoods, few.estimate.log_likelihood, few.estimate.standard_error],
        "stream": [value for row in rows for value in (row.num_samples, row.log_likelihood, row.standard_error)],
    }


def draw(num: int, ranks: Ranks) -> Tensor:
    G = Generator("dense 6 relu irange=0.5, dense out sigmoid irange=0.5", 4, SHAPE)
    initialise_network(G, torch.Generator().manual_seed(1))
    return draw_samples(G, "gaussian", num, torch.Generator().manual_seed(5), ranks)


def everything(ranks: Ranks) -> dict[str, Any]:
    """All that is compared between numbers of ranks."""
    return {
        "play": {
            (str(dtype), updates, bound, shares_updates): play(dtype, updates, bound, shares_updates, ranks)
            for updates in ("alternating", "simultaneous")
            for dtype, bound, shares_updates in (
                *((dtype, bound, False) for dtype in (torch.float64, torch.float32) for bound in (None, 0.1)),
                (torch.float32, None, True),
            )
        },
        "score": score(3500, ranks),
        "draw": draw(4321, ranks),
        "agreed": ranks.agreed(lambda: f"rank {ranks.rank}"),
        "largest": ranks.largest(ranks.rank),
        "gathered": ranks.gather(torch.arange(7)[ranks.part(7)], 7),
    }


def compare(folder: str, together: bool) -> None:
    with joined() as ranks:
        if not together:
            ranks = dataclasses.replace(ranks, local_size=1)
        rows = shared_rows(ranks, 7, torch.float64)
        if rows is not None:
            rows.values[ranks.rank] = torch.arange(7) + ranks.rank
            rows.sum_()
        rules = shared_momentum(Config(), ranks, [torch.nn.Linear(3, 2)])
        results = {"sums": rows and rows.values.clone(), "shares updates": rules is not None, **everything(ranks)}
        torch.save(results, Path(folder) / f"{ranks.rank}.pt")


def command(*arguments: str) -> None:
    main(list(arguments), prog_name="gancli")


def distant_command(*arguments: str) -> None:
    """Run a command on ranks that share no folder."""
    folder = Path(f"machine-{os.environ['RANK']}")
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    command(*arguments)


def faulty_command(name: str, rank: int, step: int, *arguments: str) -> None:
    """Run a command of gancli in which one rank sends itself a signal after an iteration."""
    iterate = Trainer._iterate

    def faulty(self: Trainer, epoch: int) -> Any:
        seen = iterate(self, epoch)
        if (self.ranks.rank, self.step) == (rank, step):
            os.kill(os.getpid(), getattr(signal, name))
        return seen

    Trainer._iterate = faulty  # type: ignore[method-assign]
    command(*arguments)


def stalled_command(seconds: int, *arguments: str) -> None:
    """Run a command in which rank 1 stops without ending after iteration 7, and the others wait for a few seconds."""
    gancli.ranks.TIMEOUT = timedelta(seconds=seconds)
    faulty_command("SIGSTOP", 1, 7, *arguments)


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)  # type: ignore[name-defined]  # noqa: F821
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        log = os.open(f"{LOG}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # type: ignore[name-defined]  # noqa: F821
        stream.flush()
        os.dup2(log, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    torch.set_num_threads(1)
    assert gancli.__file__ == PACKAGE  # type: ignore[name-defined]  # noqa: F821
    globals()[JOB](*ARGUMENTS)  # type: ignore[name-defined]  # noqa: F821
