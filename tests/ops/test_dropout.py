"""Dropout on every route: shares, masks, gradients and bits."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.errors import InputError, UsageError
from gancli.ops import dropout, dropout_reference


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_stated_share_and_scales_it(route, keep: float) -> None:
    y = dropout(torch.ones(1000, 200), keep, generator(), backend=route.backend)
    assert sorted(y.unique().tolist()) == pytest.approx([0.0, 1 / keep])
    kept = y > 0
    for share in (kept.double().mean(), kept[:, 0].double().mean(), kept[0].double().mean()):
        count = kept.numel() if share == kept.double().mean() else min(kept.shape)
        assert abs(share.item() - keep) < 5 * math.sqrt(keep * (1 - keep) / count)


def test_neighbours_are_dropped_independently(native_route) -> None:
    kept = (dropout(torch.ones(500, 128), 0.5, generator(), backend="native") > 0).double() - 0.5
    flat = kept.flatten()
    for distance in (1, 16, 64, 128):  # lanes, words, blocks and rows of the generator's layout
        correlation = 4 * (flat[:-distance] * flat[distance:]).mean().item()
        assert abs(correlation) < 5 / math.sqrt(len(flat))


# Threefry4x32-20 of counter 0 under key 0, from the known answers that its authors publish: words 0 to 3 decide
# elements 0, 16, 32 and 48 of the first block.
KNOWN_ANSWER = (0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8)


def test_random_numbers_are_threefrys() -> None:
    for word, answer in enumerate(KNOWN_ANSWER):
        for keep, is_kept in (((answer + 1) / 2**32, True), (answer / 2**32, False)):
            assert (dropout_reference(torch.ones(64), keep, 0)[16 * word] > 0) == is_kept


@pytest.mark.parametrize("count", [1, 15, 16, 17, 63, 64, 65, 1000, 2**14 - 1, 2**14, 2**14 + 1, 40_000])
def test_the_native_mask_is_that_of_the_reference(native_route, count: int) -> None:
    x = torch.randn(count)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator(5)))
    y = dropout(x, 0.8, generator(5), backend="native")
    assert torch.equal(y, dropout_reference(x, 0.8, seed))


def test_the_gradient_is_the_mask(route) -> None:
    x = torch.randn(70, 50, requires_grad=True)
    y = dropout(x, 0.5, generator(), backend=route.backend)
    (v_x,) = torch.autograd.grad(y, x, torch.ones(50, 70).T)
    torch.testing.assert_close(v_x * x, y)
    assert set(v_x.unique().tolist()) == {0.0, 2.0}


def test_restoring_the_generator_repeats_the_mask(route) -> None:
    rng, x = generator(), torch.ones(9, 40)
    dropout(x, 0.5, rng, backend=route.backend)
    state = rng.get_state()
    first, second = (dropout(x, 0.5, rng, backend=route.backend) for _ in range(2))
    assert not torch.equal(first, second)
    rng.set_state(state)
    assert torch.equal(dropout(x, 0.5, rng, backend=route.backend), first)


@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_change_the_mask(native_route, threads: int) -> None:
    before = torch.get_num_threads()
    x = torch.randn(100_000)
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            results.append(dropout(x, 0.8, generator(), backend="native"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_keep_of_one_keeps_everything(route) -> None:
    x = torch.randn(300)
    assert torch.equal(dropout(x, 1.0, generator(), backend=route.backend), x)


def test_double_takes_the_torch_path_and_native_refuses_it(native_route) -> None:
    x = torch.ones(5, dtype=torch.float64)
    assert dropout(x, 0.5, generator()).dtype == torch.float64
    with pytest.raises(UsageError, match="computes in float32"):
        dropout(x, 0.5, generator(), backend="native")


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.5, math.nan])
def test_a_share_out_of_range_is_refused(keep: float) -> None:
    with pytest.raises(InputError, match="keep must be above 0 and at most 1"):
        dropout(torch.ones(3), keep)
