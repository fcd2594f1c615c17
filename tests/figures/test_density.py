import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.errors import UsageError
from gancli.figures import save_density
from gancli.figures.density import _kernel_estimate

GREEN = (0, 158, 115)


def normal(n: int, mean: float = 0.0, deviation: float = 1.0, seed: int = 0) -> torch.Tensor:
    return mean + deviation * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def normal_density(x: np.ndarray, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def check_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1600, 840)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels[0] == 255).all()
    assert (np.abs(pixels - GREEN) <= 3).all(axis=-1).any(), "p_g is drawn"
    assert (pixels == 0).all(axis=-1).any(), "p_data is drawn"
    return pixels


def test_the_exact_density_is_drawn_where_one_is_given(tmp_path: Path) -> None:
    asked = []

    def density(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return normal_density(x)

    save_density(tmp_path / "a.png", normal(1000), normal(1000, seed=1), density=density, title="gaussian")
    check_png(tmp_path / "a.png")
    (x,) = asked
    assert x.dtype == np.float64
    assert x.ndim == 1
    assert x.min() < -2.5
    assert x.max() > 2.5


def test_the_two_curves_lie_where_their_samples_lie(tmp_path: Path) -> None:
    save_density(tmp_path / "a.png", normal(5000, 6.0), normal(5000, 0.0, seed=1), density=normal_density)
    pixels = check_png(tmp_path / "a.png")
    upper = pixels[120:600, 150:]  # below the legend, above the tails
    green = np.nonzero((np.abs(upper - GREEN) <= 3).all(axis=-1))[1]
    black = np.nonzero((upper == 0).all(axis=-1))[1]
    assert len(black) > 0
    assert black.max() < green.min()


@pytest.mark.parametrize(
    ("samples", "data", "exact"),
    [
        (normal(1000, 0.3, 0.0), normal(1000), True),  # collapsed to a point
        (normal(1000), torch.full((50,), 2.0), False),  # all data equal
        (torch.full((9,), 2.0), torch.full((9,), 2.0), True),
        (torch.zeros(1), torch.zeros(1), False),
        (torch.full((9,), 1e6), normal(1000), True),  # far from all data
        (normal(1000).double() * 1e-8, normal(1000).double() * 1e-8, False),
        (normal(1000) * 1e6, normal(1000) * 1e6, True),  # an exact density that misses every point of the grid
        (torch.cat([normal(1000), torch.tensor([-1e30, 1e30])]), normal(1000), False),
    ],
)
def test_odd_samples_are_drawn_without_a_warning(
    tmp_path: Path, samples: torch.Tensor, data: torch.Tensor, exact: bool
) -> None:
    save_density(tmp_path / "a.png", samples, data, density=normal_density if exact else None)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1600, 840)


def test_the_legend_tells_how_many_samples_lie_outside(tmp_path: Path) -> None:
    samples = torch.cat([normal(900), torch.full((100,), 1e6)])
    save_density(tmp_path / "a.svg", samples, normal(1000))
    assert "1,000 samples, 10.0% of them outside" in (tmp_path / "a.svg").read_text()
    save_density(tmp_path / "b.svg", normal(1000, 0.0, 0.5), normal(1000))
    assert "outside" not in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize("gap", [0.0, 3.0, 10.0])
def test_the_kernel_estimate_comes_near_the_true_density(gap: float) -> None:
    samples = torch.cat([normal(5000, 0.0), normal(5000, gap, seed=1)]).double().numpy()
    x = np.linspace(-6, gap + 6, 1024)
    truth = (normal_density(x) + normal_density(x, gap)) / 2
    estimate = _kernel_estimate(samples, x)
    assert estimate.sum() * (x[1] - x[0]) == pytest.approx(1, abs=0.01)
    assert np.abs(estimate - truth).max() < 0.08 * truth.max()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(3, 1), r"samples: expected floating-point numbers of shape \(n,\), got float32 of shape \(3, 1\)"),
        (torch.zeros(3, dtype=torch.uint8), "got uint8"),
        (torch.zeros(0), "samples: expected at least one number, got none"),
        (torch.tensor([0.0, math.nan]), "samples: expected finite numbers, got nan at index 1"),
        (torch.tensor([math.inf, math.nan]), "samples: expected finite numbers, got inf at index 0"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, samples: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        save_density(tmp_path / "a.png", samples, normal(10))
    with pytest.raises(UsageError, match=message.replace("samples:", "data:")):
        save_density(tmp_path / "a.png", normal(10), samples)
