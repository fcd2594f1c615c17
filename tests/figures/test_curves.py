import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.errors import UsageError
from gancli.figures import save_sigma_curve
from gancli.figures.ranges import readable_range, training_range

SIGMAS = [10 ** (-1 + i / 9) for i in range(10)]
LIKELIHOODS = [-400.0, 20, 195, 221, 155, 36, -116, -288, -470, -660]
GREEN = (0, 158, 115)


def check_png(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Check that a file is a whole PNG of this size on white, with something drawn; return its pixels."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == size
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels[0] == 255).all()
    assert (pixels[-1] == 255).all()
    assert 0.005 < (pixels != 255).any(axis=-1).mean() < 0.3
    return pixels


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels.astype(int) - colour) <= 3).all(axis=-1)


def test_the_best_sigma_is_marked_where_it_lies(tmp_path: Path) -> None:
    save_sigma_curve(tmp_path / "a.png", SIGMAS, LIKELIHOODS, SIGMAS[3], 221.0)
    pixels = check_png(tmp_path / "a.png", (1600, 880))
    rows, columns = np.nonzero(near(pixels, GREEN))
    # log σ is a third of the way from 0.1 to 1, the value is the highest.
    assert 0.33 < columns.mean() / 1600 < 0.50
    assert rows.mean() / 880 < 0.35


def test_the_plot_names_the_best_sigma_its_value_and_the_axes(tmp_path: Path) -> None:
    save_sigma_curve(tmp_path / "a.svg", SIGMAS, LIKELIHOODS, SIGMAS[3], 221.0, title="a run, $5 & <b>")
    svg = (tmp_path / "a.svg").read_text()
    for text in (
        "σ = 0.2154: 221.0 nats",
        "Parzen window width σ",
        "validation log-likelihood (nats)",
        "a run, $5 &amp; &lt;b&gt;",
        "<!-- 0.2 -->",
    ):
        assert text in svg


def test_points_far_below_are_marked_at_the_edge_with_the_lowest_value(tmp_path: Path) -> None:
    save_sigma_curve(tmp_path / "a.svg", SIGMAS, [-1e6, *LIKELIHOODS[1:]], SIGMAS[3], 221.0)
    assert "further down, to −1,000,000" in (tmp_path / "a.svg").read_text()
    save_sigma_curve(tmp_path / "b.svg", SIGMAS, LIKELIHOODS, SIGMAS[3], 221.0)
    assert "further down" not in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize(
    ("sigmas", "values"),
    [
        ([0.2], [225.0]),
        ([0.2, 0.3], [-1e30, -1e30]),
        ([0.2, 0.3], [100.0, 100.0 + 1e-13]),
        ([0.2, 0.2, 0.2], [1.0, 2.0, 3.0]),
        (SIGMAS, [-7.0] * 10),
        (SIGMAS, [-1e6] * 9 + [100.0]),
        (SIGMAS, [100.0] + [-1e6] * 9),
        (SIGMAS, [-1e6, -1e12, -1e30, *LIKELIHOODS[3:]]),
        ([0.19, 0.2, 0.21], [224.0, 225.0, 224.0]),
        ([1e-8, 1e-4, 1.0, 1e4], [-5.0, 1.0, 2.0, 0.0]),
        (SIGMAS[::-1], LIKELIHOODS[::-1]),
        (np.array(SIGMAS), np.array(LIKELIHOODS)),
    ],
)
def test_odd_inputs_give_a_plot_of_the_same_size_without_a_warning(
    tmp_path: Path, sigmas: list[float], values: list[float]
) -> None:
    best = int(np.argmax(values))
    save_sigma_curve(tmp_path / "a.png", sigmas, values, sigmas[best], values[best], title="odd")
    check_png(tmp_path / "a.png", (1600, 880))


def test_a_refined_search_is_drawn_as_a_second_curve(tmp_path: Path) -> None:
    refined = ([0.19, 0.2, 0.21], [221.5, 224.0, 222.0])
    save_sigma_curve(tmp_path / "a.svg", SIGMAS, LIKELIHOODS, 0.2, 224.0, refined)
    svg = (tmp_path / "a.svg").read_text()
    assert "<!-- refined -->" in svg
    assert "σ = 0.2: 224.0 nats" in svg


def test_the_readable_range_shows_all_of_an_ordinary_curve() -> None:
    assert readable_range(list(zip(SIGMAS, LIKELIHOODS, strict=True))) == (-660.0, 221.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1e6, -1e5, 100.0, 50.0, -200.0], (-200.0, 100.0)),  # the right falls by 300: 600 at most is shown
        ([-450.0, 0.0, 100.0, 50.0, -200.0], (-450.0, 100.0)),  # 550 is less than that
        ([-9e5, -3e4, -20.0, 50.0, 100.0], (-20.0, 100.0)),  # nothing to the right: twice the second nearest, 240
        ([5.0], (4.0, 6.0)),
        ([5.0, 5.0, 5.0], (4.0, 6.0)),
        ([5.0, 5.0 + 1e-14], (4.0, 6.0)),  # rounding
        ([-2e30], (-2.002e30, -1.998e30)),
        ([-1e6, 5.0, 5.0], (-1e6, 5.0)),  # nothing else to show
    ],
)
def test_the_readable_range_leaves_out_what_would_flatten_the_peak(
    values: list[float], expected: tuple[float, float]
) -> None:
    assert readable_range([(i + 1.0, value) for i, value in enumerate(values)]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1e6, 100.0, 200.0, 210.0, 205.0], (100.0, 210.0)),
        ([-500.0, -100.0, 100.0, 200.0], (-500.0, 200.0)),
        ([7.0, 7.0], (6.0, 8.0)),
    ],
)
def test_the_range_of_a_training_run_shows_its_rise_but_no_outlier(
    values: list[float], expected: tuple[float, float]
) -> None:
    assert training_range(values) == expected


@pytest.mark.parametrize(
    ("sigmas", "values", "message"),
    [
        ([], [], "at least one σ, got none"),
        ([0.1, 0.2], [1.0], "one value per σ, got 1 for 2"),
        ([0.0, 0.2], [1.0, 2.0], "positive σ, got 0.0"),
        ([-0.1, 0.2], [1.0, 2.0], "positive σ, got -0.1"),
        ([0.1, 0.2], [1.0, math.nan], "finite values, got nan at σ = 0.2"),
        ([0.1, 0.2], [-math.inf, 1.0], "finite values, got -inf at σ = 0.1"),
    ],
)
def test_bad_sigma_curves_are_refused(tmp_path: Path, sigmas: list[float], values: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        save_sigma_curve(tmp_path / "a.png", sigmas, values, 0.2, 2.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_ending_chooses_the_kind_of_file(tmp_path: Path, name: str, start: bytes) -> None:
    save_sigma_curve(tmp_path / name, SIGMAS, LIKELIHOODS, SIGMAS[3], 221.0)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png or \.svg or \.pdf"):
        save_sigma_curve(tmp_path / "a.gif", SIGMAS, LIKELIHOODS, SIGMAS[3], 221.0)


def test_plots_neither_load_pyplot_nor_touch_the_global_settings(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        "def settings():\n"  # reading the setting called backend would itself load pyplot
        "    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"
        "before = settings()\n"
        "from pathlib import Path; from gancli.figures import save_sigma_curve\n"
        "save_sigma_curve(Path(sys.argv[1]), [0.1, 0.2], [1.0, 2.0], 0.2, 2.0)\n"
        "print('matplotlib.pyplot' in sys.modules, before == settings())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
