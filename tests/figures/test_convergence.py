"""The convergence plot is drawn for what a stream gives, and refuses what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gancli.errors import UsageError
from gancli.figures.convergence import save_convergence


@pytest.mark.parametrize("count", [1, 10])
def test_plot_is_a_picture_of_the_usual_width(tmp_path: Path, count: int) -> None:
    path = tmp_path / "convergence.png"
    save_convergence(path, [1000 * 2**i for i in range(count)], [200.0 + i for i in range(count)], [2.0] * count)
    with Image.open(path) as image:
        assert image.size[0] == 1600


@pytest.mark.parametrize(
    ("counts", "means", "errors"),
    [([], [], []), ([1000], [1.0, 2.0], [0.1]), ([1000], [float("nan")], [0.1]), ([0], [1.0], [0.1])],
)
def test_impossible_figures_are_refused(
    tmp_path: Path, counts: list[int], means: list[float], errors: list[float]
) -> None:
    with pytest.raises(UsageError, match="convergence: expected"):
        save_convergence(tmp_path / "convergence.png", counts, means, errors)
