"""A whole demonstration, from the name of its data to the files that it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gancli.config import Config
from gancli.errors import UsageError
from gancli.figures.figure1 import draw_frames, save_figure1
from gancli.figures.movie import save_movie
from gancli.figures.theory import draw_plane_frames, save_plane, save_saturation, save_theory_curves
from gancli.files import atomic_write_text, require_folder
from gancli.nets.noise import draw_noise
from gancli.theory.coverage import Coverage, play_plane
from gancli.theory.divergences import LOG_4
from gancli.theory.line import LineReport, play_line
from gancli.theory.play import Play, game_config
from gancli.theory.propositions import Check, check_all
from gancli.theory.saturation import measure_saturation
from gancli.theory.targets import Line, Plane, get_target
from gancli.train.seeds import make_rng

FRAMES = 50  # reports, each a frame of the animation
_SATURATION_SAMPLES = 512
_MOMENTS = 4  # shown of a game in the plane


@dataclass(frozen=True)
class Listener:
    """What is told while things go on; each does nothing unless given.

    Attributes:
        report: each report of the game.
        check: each check.
        note: what is being done.
    """

    report: Callable[[LineReport | Coverage], None] = lambda report: None
    check: Callable[[Check], None] = lambda check: None
    note: Callable[[str], None] = lambda sentence: None


@dataclass
class Shown:
    """What a demonstration leaves.

    Attributes:
        data: the data's name.
        settings: k, loss, seed and steps.
        reports: of the game, from first to last.
        checks: of the propositions; none in the plane.
        files: what was written.
        remarks: sentences on what was not.
    """

    data: str
    settings: dict[str, Any]
    reports: list[LineReport] | list[Coverage]
    checks: list[Check] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; infinite divergences, for which JSON has no word, as None."""
        return {
            "data": self.data,
            **self.settings,
            "log_4": LOG_4,
            "reports": [_finite(asdict(report)) for report in self.reports],
            "checks": [{**_finite(asdict(check)), "passed": check.passed} for check in self.checks],
            "files": [str(file) for file in self.files],
        }


def show(
    data: str,
    out: Path,
    *,
    k: int | None = None,
    loss: str = "non-saturating",
    seed: int | None = None,
    steps: int | None = None,
    listener: Listener | None = None,
) -> Shown:
    """Play a game whose theory is known, and write its pictures, its animation and its figures.

    Args:
        data: a name of TARGETS.
        out: the folder to write to.
        k: discriminator steps per iteration; None takes what suits the data.
        loss: G's loss, "minimax" or "non-saturating".
        seed: of weights, data and noise; None takes one that suits the data.
        steps: iterations; None takes what suits the data.
        listener: told what goes on.

    Raises:
        UsageError: a setting is off.
        GancliError: a file cannot be written, or the generator has diverged.
    """
    target = get_target(data)
    if steps is not None and steps < 2:
        raise UsageError(f"--steps must be at least 2, got {steps}.")
    moments = _moments(target.rules.steps if steps is None else steps)
    config = game_config(target, k=k, loss=loss, seed=seed, steps=moments[-1])
    listener = listener or Listener()
    require_folder(out)
    if isinstance(target, Line):
        shown = _show_line(data, target, config, moments, out, listener)
    else:
        shown = _show_plane(data, target, config, moments, out, listener)
    figures = out / "theory.json"
    shown.files.append(figures)
    atomic_write_text(figures, json.dumps(shown.as_dict(), indent=2, ensure_ascii=False) + "\n")
    return shown


def _settings(config: Config) -> dict[str, Any]:
    return {"k": config.k, "loss": config.loss, "seed": config.seed, "steps": config.steps}


def _show_line(data: str, target: Line, config: Config, moments: list[int], out: Path, listener: Listener) -> Shown:
    result = play_line(target, Play(target, config), moments, listener.report)
    shown = Shown(data, _settings(config), result.reports)
    listener.note("checking the propositions")
    for check in check_all(target.mixture, config):
        shown.checks.append(check)
        listener.check(check)
    listener.note("drawing")
    title = f"{target.sentence}; k = {config.k}, {config.loss} loss, seed {config.seed}"
    figure1, curves, saturation = out / "figure1.png", out / "curves.png", out / "saturation.png"
    save_figure1(figure1, result.panels)
    save_theory_curves(
        curves,
        [report.step for report in result.reports],
        largest_error=[report.largest_error for report in result.reports],
        value=[report.value for report in result.reports],
        c_of_g=[report.c_of_g for report in result.reports],
        jsd=[report.jsd for report in result.reports],
        title=title,
    )
    z = draw_noise(config.noise, _SATURATION_SAMPLES, 1, make_rng(config.seed, "saturation"))
    measured = measure_saturation(result.near, z)
    save_saturation(saturation, measured.d_of_g, measured.norms, "The generator's gradient under its two losses")
    movies, remark = save_movie(out / "training", list(draw_frames(result.frames)))
    shown.files += [figure1, curves, saturation, *movies]
    shown.remarks += [remark] if remark else []
    return shown


def _show_plane(data: str, target: Plane, config: Config, moments: list[int], out: Path, listener: Listener) -> Shown:
    result = play_plane(target, Play(target, config), moments, listener.report)
    shown = Shown(data, _settings(config), result.reports)
    listener.note("drawing")
    titles = [
        f"iteration {report.step:,}: {report.captured} of {report.modes} modes, {report.good:.0%} good"
        for report in result.reports
    ]
    last = len(result.reports) - 1
    pictured = sorted({round(last * i / (_MOMENTS - 1)) for i in range(_MOMENTS)})
    coverage = out / "coverage.png"
    save_plane(
        coverage,
        result.data,
        [result.clouds[i] for i in pictured],
        [f"iteration {result.reports[i].step:,}" for i in pictured],
        [report.step for report in result.reports],
        [report.captured for report in result.reports],
        [report.good for report in result.reports],
        len(target.centres),
        f"{target.sentence}; k = {config.k}, {config.loss} loss, seed {config.seed}",
    )
    movies, remark = save_movie(out / "training", list(draw_plane_frames(result.data, result.clouds, titles)))
    shown.files += [coverage, *movies]
    shown.remarks += [remark] if remark else []
    return shown


def _moments(steps: int) -> list[int]:
    """Return when to look: often at first, when everything moves, and at the end."""
    return sorted({round(steps * (i / FRAMES) ** 2) for i in range(FRAMES + 1)})


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
