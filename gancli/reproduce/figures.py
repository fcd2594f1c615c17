"""The paper's Figures 2 and 3 from trained runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancli.errors import UsageError
from gancli.reproduce.results import RESULT_FILE
from gancli.train.run_folder import RunFolder, open_run
from gancli.train.sampling import open_generator, save_neighbours, save_walk

SAMPLES = 20  # Figure 2: four rows of five
WALKS, STEPS = 4, 12  # Figure 3's rows, and the pictures in each


@dataclass(frozen=True)
class Panel:
    """A part of Figure 2.

    Attributes:
        name: of its file, without the ending.
        presets: configurations that make it.
        home: where `gancli reproduce` leaves the run that it is drawn from.
        command: what makes that run.
    """

    name: str
    presets: tuple[str, ...]
    home: Path
    command: str


_RUNS = Path("runs")
PANELS = (
    Panel(
        "figure2a",
        ("mnist", "mnist-tuned", "algorithm1", "lecture", "digits"),
        _RUNS / "table1-mnist" / "seed-1",
        "gancli reproduce table1-mnist",
    ),
    Panel("figure2b", ("tfd",), _RUNS / "table1-tfd" / "stage-2", "gancli reproduce table1-tfd"),
    Panel("figure2c", ("cifar10", "cifar10-tuned"), _RUNS / "cifar10" / "cifar10", "gancli reproduce cifar10"),
    Panel(
        "figure2d",
        ("cifar10-conv", "cifar10-conv-tuned"),
        _RUNS / "cifar10" / "cifar10-conv",
        "gancli reproduce cifar10",
    ),
)
FIGURE3 = "figure3"


def panel_of(preset: str) -> Panel:
    """Return the panel of Figure 2 that a configuration makes.

    Raises:
        UsageError: none does.
    """
    for panel in PANELS:
        if preset in panel.presets:
            return panel
    known = ", ".join(name for panel in PANELS for name in panel.presets)
    raise UsageError(f"A run of the preset {preset!r} makes no panel of Figure 2; those that do are {known}.")


def reproduce_figures(
    runs: Sequence[Path], out: Path, *, data_dir: str | None, device: str, backend: str
) -> dict[str, Any]:
    """Draw the panels of Figure 2, and Figure 3 from the digits' generator.

    Args:
        runs: trained runs; none for those that `gancli reproduce` left under runs/.
        out: the folder for the pictures.
        data_dir: where data sets lie, for the nearest training examples.
        device: where the generators run.
        backend: "auto", "torch" or "native".

    Returns:
        figures: by name, the run, its epochs and the files; missing: sentences on panels without a run; warnings.

    Raises:
        UsageError: there is no run at all, or two for one panel.

    Source: Figures 2 and 3 of the paper.
    """
    chosen = _choose(runs)
    figures: dict[str, Any] = {}
    for panel, run in chosen.items():
        trained = open_generator(run, device, backend=backend)
        seed, path = trained.config.seed, out / f"{panel.name}.png"
        save_neighbours(trained, path, num=SAMPLES, seed=seed, data_dir=data_dir)
        about = {"run": str(run.path), "preset": trained.config.preset, "step": trained.step}
        figures[panel.name] = {**about, "files": [str(path)]}
        if panel is PANELS[0]:
            files = save_walk(trained, out / f"{FIGURE3}.png", rows=WALKS, steps=STEPS, seed=seed, closed=False)
            figures[FIGURE3] = {**about, "files": [str(file) for file in files]}
    missing = [
        f"{panel.name}: no run at {panel.home}; {panel.command} makes one"
        for panel in PANELS
        if panel not in chosen and not runs
    ]
    return {"target": "figures", "figures": figures, "missing": missing, "warnings": []}


def _left_by_reproduce(panel: Panel) -> RunFolder:
    """Return a panel's run: the first of its presets that has one; of chosen starts, the first that went on."""
    places = [
        place
        for preset in panel.presets
        for place in (_first_chosen(_RUNS / f"table1-{preset}"), panel.home.with_name(preset))
    ]
    return next((run for run in map(RunFolder, places) if run.last.exists()), RunFolder(panel.home))


def _first_chosen(path: Path) -> Path:
    """Return where the first seed of a reproduction lies; of chosen starts, the first that went on."""
    try:
        result = json.loads((path / RESULT_FILE).read_text(encoding="utf-8"))
        return path / f"seed-{result['starts']['chosen'][0]}"
    except (OSError, ValueError, LookupError, TypeError):
        return path / "seed-1"


def _choose(runs: Sequence[Path]) -> dict[Panel, RunFolder]:
    """Return the run for each panel."""
    if not runs:
        found = {panel: run for panel in PANELS if (run := _left_by_reproduce(panel)).last.exists()}
        if not found:
            raise UsageError(
                f"There are no runs to draw figures from; name some, or make one with: {PANELS[0].command}"
            )
        return found
    chosen: dict[Panel, RunFolder] = {}
    for path in runs:
        run = open_run(path)
        panel = panel_of(run.config().preset)
        if panel in chosen:
            raise UsageError(f"{chosen[panel].path} and {path} both make {panel.name}; name one run for each panel.")
        chosen[panel] = run
    return chosen
