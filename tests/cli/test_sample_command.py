"""`gancli sample` as people use it: how many, of which seed, and as which picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typed import gancli, size_of


def test_samples_do_not_depend_on_how_many_are_drawn(run: str) -> None:
    assert gancli("sample", "--num", "30", "--out", "few.npy").exit_code == 0
    assert gancli("sample", "--num", "1500", "--out", "many.npy").exit_code == 0
    few, many = np.load("few.npy"), np.load("many.npy")
    assert few.shape == (30, 1, 6, 6)
    np.testing.assert_array_equal(few, many[:30])
    assert gancli("sample", "--num", "30", "--seed", "9", "--out", "other.npy").exit_code == 0
    assert not np.array_equal(few, np.load("other.npy"))


def test_sample_writes_the_papers_figures(run: str) -> None:
    assert gancli("sample", "--interpolate", "--num", "3", "--steps", "7").exit_code == 0
    with Image.open("interpolation.gif") as gif:
        assert gif.n_frames > 7  # type: ignore[attr-defined]
    width, height = size_of("interpolation.png")
    assert width > height
    assert gancli("sample", "--interpolate", "--closed", "--num", "4", "--out", "loop.gif").exit_code == 0
    assert Path("loop.png").exists()
    nearest = gancli("sample", "--nearest", "--json")
    assert nearest.exit_code == 0
    assert len(json.loads(nearest.stdout)["distances"]) == 4  # four rows of five samples
    assert size_of("nearest.png")[0] > 200
    assert gancli("sample", "--num", "10", "--out", "grid.png").exit_code == 0


def test_a_picture_shows_as_many_samples_as_were_asked_for(run: str) -> None:
    assert gancli("sample", "--out", "hundred.png").exit_code == 0
    assert gancli("sample", "--num", "100", "--out", "same.png").exit_code == 0
    assert Path("hundred.png").read_bytes() == Path("same.png").read_bytes()
    assert gancli("sample", "--num", "400", "--out", "more.png").exit_code == 0
    for path, side in (("hundred.png", 10), ("more.png", 20)):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        for axis in (0, 1):
            plain = (pixels.max(axis) == pixels.min(axis)).astype(int)  # a line between images, not through them
            lines = np.count_nonzero(np.diff(plain, prepend=1, append=1) == 1)
            assert lines == side, path


@pytest.mark.parametrize("out", ["grid.png", "samples.npy"])
def test_only_a_picture_has_a_limit(run: str, out: str) -> None:
    result = gancli("sample", "--num", "10001", "--out", out)
    if out.endswith(".npy"):
        assert len(np.load(out)) == 10_001
        return
    assert result.exit_code == 2
    assert "a picture shows at most 10,000 samples" in result.stderr
    assert not Path(out).exists()
