"""Figure 1 in panels and in motion: what is drawn, and at what size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.errors import UsageError
from gancli.figures import figure1
from gancli.figures.figure1 import Snapshot, draw_frames, save_figure1
from gancli.figures.theory import draw_plane_frames, save_plane, save_saturation, save_theory_curves


def snapshot(shift: float = 0.0) -> Snapshot:
    x = np.linspace(-4, 4, 200)
    p = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    q = np.exp(-0.5 * (x - shift) ** 2) / np.sqrt(2 * np.pi)
    z = np.linspace(-2, 2, 9)
    return Snapshot(x, p / (p + q), p, q, z, z + shift, f"moved by {shift}")


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))


def test_the_panels_hold_the_three_curves_in_their_colours() -> None:
    path = Path("figure1.png")
    save_figure1(path, [snapshot(shift) for shift in (1, 1, 0.5, 0)])
    with Image.open(path) as image:
        assert image.width == 1600
    assert {(0, 114, 178), (0, 158, 115), (0, 0, 0)} <= colours(path)


def test_the_curves_have_the_papers_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(figure1, "save_figure", lambda path, figure: kept.append(figure))
    save_figure1(Path("unused.png"), [snapshot(1), snapshot(0)])
    curves, arrows, *_ = kept[0].axes
    lines = {line.get_label(): line for line in curves.lines}
    assert np.array_equal(lines[r"$D$"].get_ydata(), snapshot(1).d)
    assert np.array_equal(lines[r"$p_g$"].get_ydata(), snapshot(1).p_g)
    assert [lines[name].is_dashed() for name in (r"$D$", r"$p_\mathrm{data}$", r"$p_g$")] == [True, True, False]
    assert curves.get_title() == "(a) moved by 1"
    ends = sorted(text.xy[0] for text in arrows.texts if text.arrow_patch is not None)
    assert ends == pytest.approx(sorted(snapshot(1).x_of_z))


def test_no_panels_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one panel"):
        save_figure1(Path("figure1.png"), [])


def test_frames_have_one_even_size_and_differ() -> None:
    first, second = draw_frames([snapshot(1), snapshot(0)])
    assert first.shape == second.shape
    assert (first.shape[0] % 2, first.shape[1] % 2, first.shape[2]) == (0, 0, 3)
    assert not np.array_equal(first, second)


def test_the_other_plots_are_written() -> None:
    steps = [0, 10, 20]
    save_theory_curves(
        Path("curves.png"),
        steps,
        largest_error=[0.9, 0.5, 0.1],
        value=[-3, -1.2, -1.4],
        c_of_g=[0, -1, -1.38],
        jsd=[0.69, 0.1, 0.0],
    )
    save_saturation(Path("s.png"), [1e-5, 0.5, 0.999], {"minimax": [1e-5, 1, 2], "non-saturating": [2, 1, 1e-3]})
    cloud = np.random.default_rng(0).normal(size=(50, 2))
    save_plane(Path("plane.png"), cloud, [cloud, -cloud], ["a", "b"], steps, [0, 4, 8], [0, 0.5, 1], 8)
    assert all(Path(name).stat().st_size > 5000 for name in ("curves.png", "s.png", "plane.png"))
    one, two = draw_plane_frames(cloud, [cloud, 2 * cloud], ["a", "b"])
    assert one.shape == two.shape
