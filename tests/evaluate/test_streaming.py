"""Streamed scores against the whole at once, whatever the pieces."""

from __future__ import annotations

import pytest
import torch

from gancli.data.dataset import Fold
from gancli.errors import InputError
from gancli.evaluate import streaming
from gancli.evaluate.parzen import parzen_score
from gancli.evaluate.streaming import ParzenStream, report_points, stream_score
from gancli.ranks import Ranks


def cloud(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 1, 3, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("piece", [1, 37, 1000, 2600])
def test_a_stream_scores_as_the_whole_does(piece: int) -> None:
    samples, valid, test = cloud(2600, 1), cloud(50, 2), cloud(70, 3)
    stream = ParzenStream([Fold(valid, test)])
    seen: list[int] = []
    rows = stream_score(stream, samples.split(piece), len(samples), progress=seen.append)
    assert [row.num_samples for row in rows] == [1000, 2000, 2600]
    assert seen[-1] == 2600
    for row in rows:
        whole = parzen_score(samples[: row.num_samples], test, valid).estimate
        assert row.sigma == whole.sigma
        assert row.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-4)
        assert row.standard_error == pytest.approx(whole.standard_error, abs=1e-4)
    (final,) = stream.scores()
    assert (final.num_samples, final.num_validation, final.num_test) == (2600, 50, 70)


def test_blocks_stay_small_between_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 300)
    sizes: list[int] = []
    monkeypatch.setattr(ParzenStream, "fold_in", lambda self, block: sizes.append(len(block)))
    monkeypatch.setattr(ParzenStream, "row", lambda self: None)
    stream = ParzenStream([Fold(cloud(2, 0), cloud(2, 0))])
    stream_score(stream, cloud(2100, 1).split(100), 2100)
    assert sum(sizes) == 2100
    assert max(sizes) <= 300


def test_folds_are_scored_apart() -> None:
    samples = cloud(900, 1)
    folds = [Fold(cloud(20, 10 + f), cloud(30, 20 + f)) for f in range(3)]
    stream = ParzenStream(folds)
    stream.fold_in(samples)
    for fold, score in zip(folds, stream.scores(), strict=True):
        whole = parzen_score(samples, fold.test, fold.valid).estimate
        assert score.estimate.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-4)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_bad_sample_is_named_by_its_number_within_the_stream(rank: int) -> None:
    # Two ranks share each block; the samples before the bad one are 2000 of earlier blocks and 37 of its own.
    blocks = [cloud(1000, 1), cloud(1000, 2), cloud(60, 3)]
    blocks[2][37, 0, 2, 1] = float("nan")
    stream = ParzenStream([Fold(cloud(5, 4), cloud(5, 5))], ranks=Ranks(rank, 2))
    stream.fold_in(blocks[0])
    stream.fold_in(blocks[1])
    if rank == 0:  # its part is sound
        stream.fold_in(blocks[2])
        return
    with pytest.raises(InputError, match="samples holds nan in row 2037;"):
        stream.fold_in(blocks[2])


def test_bad_points_are_not_blamed_on_the_samples() -> None:
    stream = ParzenStream([Fold(cloud(5, 4), cloud(5, 5) * float("inf"))])
    with pytest.raises(InputError, match="x holds"):
        stream.fold_in(cloud(10, 1))


def test_reports_come_at_round_numbers_and_at_the_end() -> None:
    assert report_points(500) == [500]
    assert report_points(1000) == [1000]
    assert report_points(12_345) == [1000, 2000, 5000, 10_000, 12_345]


def test_an_empty_stream_has_no_score() -> None:
    with pytest.raises(InputError, match="at least one sample"):
        ParzenStream([Fold(cloud(2, 0), cloud(2, 0))]).scores()
