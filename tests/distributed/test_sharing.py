"""What several ranks compute together is what one computes alone, to rounding."""

from __future__ import annotations

import dataclasses
import itertools
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gancli.config import Config
from gancli.errors import InputError, UsageError
from gancli.evaluate.sharing import shared_log_likelihood
from gancli.ops import native
from gancli.ranks import ALONE, Ranks
from gancli.train.algorithm1 import ITERATIONS
from gancli.train.minibatches import Minibatches
from gancli.train.setup import make_game
from gancli.train.shared_momentum import shared_momentum

WORKER = Path(__file__).with_name("worker.py")


@pytest.mark.parametrize(("size", "together"), [(2, True), (4, True), (2, False)])
def test_gradients_scores_and_samples_are_those_of_one_rank(
    size: int, together: bool, launch: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    assert launch(size, "compare", str(folder), together).wait() == [0] * size
    shared = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
    alone = runpy.run_path(str(WORKER))["everything"](ALONE)
    for case, expected in alone["play"].items():
        double = alone["play"][("torch.float64", *case[1:3], False)]
        tolerance = 1e-12 if case[0] == "torch.float64" else 1e-5  # of float32 against float64, as one rank's is
        for name, weights in expected.items():
            found = [result["play"][case][name] for result in shared]
            assert all(torch.equal(found[0], other) for other in found[1:]), f"{case}: ranks differ in {name}"
            torch.testing.assert_close(found[0].double(), double[name], rtol=tolerance, atol=tolerance)
            assert not torch.equal(weights, torch.zeros_like(weights))
    for result in shared:
        shares_memory = together and sys.platform == "linux" and native.load("_cpu")[0] is not None
        assert result["shares updates"] == shares_memory
        if shares_memory:
            row = [size * column + sum(range(size)) for column in range(7)]
            assert result["sums"].tolist() == [row] * size
        else:
            assert result["sums"] is None
        for kind, values in alone["score"].items():
            assert result["score"][kind] == pytest.approx(values, abs=1e-4), kind
        assert torch.equal(result["draw"], alone["draw"])
        assert result["agreed"] == "rank 0"
        assert result["largest"] == size - 1
        assert torch.equal(result["gathered"], torch.arange(7))


class Pretended(Ranks):
    """Two ranks whose gradients happen to be the same."""

    def sum_(self, tensor: Tensor) -> Tensor:
        return tensor

    def broadcast_(self, tensors: Any) -> None: ...


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_gradients_are_written_straight_into_the_message(backend: str) -> None:
    if backend == "native" and native.load("_cpu")[0] is None:
        pytest.skip("no native module")
    layers = {"generator": "dense 30 relu, dense out sigmoid", "discriminator": "maxout 20x3, dense 1 sigmoid"}
    config = Config(**layers, backend=backend)
    game = make_game(config, (1, 6, 6), None, torch.device("cpu"), Pretended(0, 2))
    game.D.share_rng(torch.Generator())
    copied = []

    def sums(player: nn.Module, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parts = game.sum_gradients(player, gradients)
        copied.append(sum(g.data_ptr() != part.data_ptr() for g, part in zip(gradients, parts, strict=True)))
        return parts

    watched = dataclasses.replace(game, sum_gradients=sums)
    for _ in range(2):
        ITERATIONS["simultaneous"](watched, lambda: torch.rand(40, 100), lambda: torch.rand(40, 1, 6, 6))
    gradients = [p.grad for p in game.G.parameters() if p.grad is not None]
    distances = [b.data_ptr() - a.data_ptr() for a, b in itertools.pairwise(gradients)]
    assert distances == [30 * 100 * 4 + 32, 128, 36 * 30 * 4 + 32]  # bytes, each rounded up to 64
    parameters = 4
    assert copied[:2] == [parameters, parameters]  # there were no old gradients to write over
    assert all(count < parameters for count in copied[2:]) == (backend == "native")


@pytest.mark.parametrize("size", [2, 4, 5])
def test_ranks_share_each_minibatch(size: int) -> None:
    train = torch.arange(43, dtype=torch.float32).view(43, 1, 1, 1)

    def stream(ranks: Ranks) -> Minibatches:
        return Minibatches(train, lambda raw: raw, 20, 3, torch.device("cpu"), ranks)

    parts = [stream(Ranks(rank, size)) for rank in range(size)]
    for position in range(5):
        joined = torch.cat([part.draw(position) for part in parts])
        assert torch.equal(joined, stream(ALONE).draw(position))
    assert {part.own_size for part in parts} == {20 // size}


def test_a_minibatch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"--batch-size 20 cannot be shared evenly by 3 ranks: .* a new run with 21 or"
    ):
        Minibatches(torch.zeros(43, 1, 1, 1), lambda raw: raw, 20, 3, torch.device("cpu"), Ranks(0, 3))


def test_no_weight_moves_unless_there_is_room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of G in common memory and D's not: each rank would apply the whole update to the same G."""
    G, D = nn.Linear(3, 2), nn.Linear(5, 4)
    rooms = iter([object(), None])
    monkeypatch.setattr("gancli.train.shared_momentum.shared_rows", lambda *_, **__: next(rooms))
    before = [p.data_ptr() for p in (*G.parameters(), *D.parameters())]
    assert shared_momentum(Config(), Ranks(0, 2), [G, D]) is None
    assert [p.data_ptr() for p in (*G.parameters(), *D.parameters())] == before
    assert next(rooms, "asked for both") == "asked for both"


def test_more_ranks_than_points_are_refused() -> None:
    with pytest.raises(UsageError, match="3 samples and 2 examples cannot be shared by 4 ranks"):
        shared_log_likelihood(torch.zeros(2, 5), torch.zeros(3, 5), [0.1], ranks=Ranks(0, 4))


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize(("name", "sizes"), [("samples", (4, 10)), ("x", (10, 4))])
def test_a_bad_row_is_named_by_its_number_among_all(backend: str, name: str, sizes: tuple[int, int]) -> None:
    points = dict(zip(("x", "samples"), (torch.zeros(size, 5) for size in sizes), strict=True))
    points[name][7, 2] = float("nan")
    with pytest.raises(InputError, match=f"{name} holds nan in row 7"):
        shared_log_likelihood(**points, sigmas=[0.1], backend=backend, ranks=Ranks(1, 2))


@pytest.mark.parametrize("count", [0, 1, 6, 7, 100])
def test_parts_cover_everything_once_and_differ_by_one_at_most(count: int) -> None:
    ranks = Ranks(0, 7)
    parts = [range(count)[ranks.part(count, rank)] for rank in range(7)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_rank_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Ranks(r, 2, r, 2).device("auto") for r in range(2)] == ["cuda:0", "cuda:1"]
    assert Ranks(3, 4, 1, 2).device("cuda") == "cuda:1"
    assert Ranks(1, 4, 1, 4).device("cpu") == "cpu"
    assert Ranks(1, 2, 0, 1).device("cuda:1") == "cuda:1"
    assert ALONE.device("cuda:1") == "cuda:1"
    with pytest.raises(UsageError, match="--device cuda:0 would put the 2 ranks of this machine on one GPU"):
        Ranks(0, 2, 0, 2).device("cuda:0")
    with pytest.raises(UsageError, match="3 ranks on a machine with 2 GPUs"):
        Ranks(0, 3, 0, 3).device("auto")
