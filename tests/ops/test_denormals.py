"""Denormal numbers taken for zero: on all threads, and as it was before afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gancli.ops import flushed_denormals, native
from gancli.ops.denormals import flushes_denormals

pytestmark = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such mode")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1 << 20).mul_(2)  # the team is there, and has not heard of it
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(before)


def small_numbers_left() -> int:
    """How many of a million denormal numbers, which several threads multiply by one, are not zero."""
    return int(torch.full((1 << 20,), 1e-39).mul_(1.0).view(torch.int32).count_nonzero())


def test_all_threads_flush_and_no_longer_do() -> None:
    if native.load("_cpu")[0] is None:
        pytest.skip("no native module")
    assert small_numbers_left() == 1 << 20
    with flushed_denormals():
        assert small_numbers_left() == 0
        assert float(torch.tensor([2e-38]).mul_(1.0)) > 0
    assert small_numbers_left() == 1 << 20


def test_it_is_seen_whatever_dtype_is_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with flushed_denormals():
            assert flushes_denormals()
    finally:
        torch.set_default_dtype(torch.float32)
    assert not flushes_denormals()


def test_it_is_as_before_after_an_error_and_within_another() -> None:
    with pytest.raises(ZeroDivisionError), flushed_denormals():
        _ = 1 / (1 - int(flushes_denormals()))
    assert not flushes_denormals()
    with flushed_denormals():
        with flushed_denormals():
            pass
        assert flushes_denormals()
    assert not flushes_denormals()
