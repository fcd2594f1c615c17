"""A small data set of images, and a run on it."""

from __future__ import annotations

import numpy as np
import pytest
from typed import TINY, gancli


@pytest.fixture
def images() -> str:
    """The path of 125 images of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8)
    np.save("small.npy", pixels)
    return "./small.npy"


@pytest.fixture
def run(images: str) -> str:
    """The folder of a finished run on them."""
    result = gancli("train", "--dataset", images, *TINY, "--out", "runs/tiny")
    assert result.exit_code == 0, result.output
    return "runs/tiny"
