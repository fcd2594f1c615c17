"""What the tests of several sources share: faults must reach people as one sentence, and cost no memory."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from gancli.errors import DataError, GancliError

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refuses() -> Refuses:
    """`with refuses("truncated", "expected 5"):` - the block raises one sentence with these words in it."""

    @contextlib.contextmanager
    def check(*words: str, error: type[GancliError] = DataError) -> Iterator[None]:
        with pytest.raises(error) as caught:
            yield
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        assert len(sentence) < 700, sentence
        for word in words:
            assert word in sentence, sentence

    return check


@pytest.fixture
def frugal() -> Callable[[int], AbstractContextManager[None]]:
    """`with frugal(10_000_000):` - the block takes no more bytes than that at any moment."""

    @contextlib.contextmanager
    def check(limit: int) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < limit, f"{peak:,} bytes were taken"

    return check


def idx_bytes(images: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, written as the format says."""
    header = struct.pack(">BBBB", 0, 0, 8, images.ndim) + struct.pack(f">{images.ndim}I", *images.shape)
    return header + images.astype(np.uint8).tobytes()


def mnist_like(count: int) -> np.ndarray:
    """Images that tell which one they are: the first two pixels are the high and the low byte of their number."""
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return images


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with files of MNIST's sizes in `mnist/`, uncompressed."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(idx_bytes(mnist_like(60_000)))
    (folder / "mnist" / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(mnist_like(10_000)[:, ::-1]))
    (folder / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(60_000)))
    (folder / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(10_000)))
    return folder
