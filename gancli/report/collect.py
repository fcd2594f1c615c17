"""What a report tells of a run: read from its folder, and pictures drawn from its best generator."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gancli.errors import GancliError
from gancli.reproduce.results import RESULT_FILE
from gancli.train.generate import TrainedGenerator
from gancli.train.run_folder import RunFolder, open_run
from gancli.train.sampling import makes_pictures, open_generator, save_neighbours, save_walk

FRAMES = 16  # pictures of the slider; early epochs, where more happens, lie closer together
_ROWS, _STEPS, _NEIGHBOURS = 4, 10, 20
# What stays true of a result.json when its runs have gone on.
_OF_NO_RUN = ("target", "preset", "model", "dataset", "seeds", "baselines", "machine")


@dataclass(frozen=True)
class RunView:
    """One run as the page shows it.

    Attributes:
        name: the last part of its path, told apart from the other runs'.
        path: its folder.
        config: config.json.
        metrics: a row for each epoch.
        parzen: the final test score as plain values; None of a run that has not ended.
        version: of gancli, that wrote its checkpoint.
        frames: (epoch, PNG) of sample grids, always from the same z.
        walk: Figure 3 as PNG; None where it cannot be drawn.
        neighbours: Figure 2 as PNG; None where it cannot be drawn.
        notes: sentences on what is missing and why.
    """

    name: str
    path: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    parzen: dict[str, Any] | None
    version: str
    frames: list[tuple[int, bytes]]
    walk: bytes | None = None
    neighbours: bytes | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch whose validation log-likelihood is highest."""
        rows = [row for row in self.metrics if row.get("validation_log_likelihood") is not None]
        return max(rows, key=lambda row: row["validation_log_likelihood"], default=None)


@dataclass(frozen=True)
class Material:
    """Everything on the page.

    Attributes:
        runs: in the order they were named.
        results: result.json of every reproduction among them.
    """

    runs: list[RunView]
    results: list[dict[str, Any]]


def collect(paths: Sequence[Path], *, data_dir: str | None, device: str, backend: str) -> Material:
    """Read runs, and the runs of reproductions.

    Args:
        paths: run folders, or folders of `gancli reproduce`; none for the newest run.
        data_dir: where data sets lie, for the nearest training examples.
        device: where the generators run.
        backend: "auto", "torch" or "native".

    Raises:
        GancliError: a folder is neither of the two, or is damaged.
    """
    folders, results = [], []
    for path in paths or [open_run(None).path]:
        if (path / RESULT_FILE).exists():
            result, runs = _reproduction(path)
            results.append(result)
            folders += runs
        else:
            folders.append(open_run(path))
    names = _names([run.path for run in folders])
    views = [_view(run, name, data_dir, device, backend) for run, name in zip(folders, names, strict=True)]
    return Material(views, results)


def _reproduction(path: Path) -> tuple[dict[str, Any], list[RunFolder]]:
    """Read result.json, and find its runs beside it, wherever the folder has been moved to."""
    file = path / RESULT_FILE
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        rows = result.get("runs") or result["seeds"]
        runs = [open_run(path / Path(row["run"]).name) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GancliError(f"{file} is damaged: {error!r}; run gancli reproduce again.") from None
    if all(row.get("steps") in (None, _finished_steps(run)) for row, run in zip(rows, runs, strict=True)):
        return result, runs
    outdated = {name: value for name, value in result.items() if name in _OF_NO_RUN}
    outdated["warnings"] = [f"{file} tells of earlier training than these runs have; run gancli reproduce again."]
    return outdated, runs


def _finished_steps(run: RunFolder) -> int | None:
    return (run.final_summary() or {}).get("steps")


def _view(run: RunFolder, name: str, data_dir: str | None, device: str, backend: str) -> RunView:
    notes: list[str] = []
    walk = neighbours = None
    version = ""
    if run.has_checkpoint() or run.best.exists():
        trained = open_generator(run, device, backend=backend)
        version = trained.version
        walk, neighbours = _pictures(trained, data_dir, notes)
    else:
        notes.append("No checkpoint yet: the run has not come to the end of its first epoch.")
    metrics = run.read_metrics()
    parzen = _final_score(run)
    if parzen is None:
        notes.append(
            f"No final score: the run stands at epoch {metrics[-1]['epoch'] if metrics else 0} and has not ended."
        )
    return RunView(
        name,
        run.path,
        run.config().as_dict(),
        metrics,
        parzen,
        version,
        _frames(run),
        walk,
        neighbours,
        notes,
    )


def _pictures(trained: TrainedGenerator, data_dir: str | None, notes: list[str]) -> tuple[bytes | None, bytes | None]:
    """Draw Figures 3 and 2 of a run; what cannot be drawn becomes a note."""
    if not makes_pictures(trained):
        notes.append("Its samples are no pictures: there are no walks and no neighbours to see.")
        return None, None
    drawn: list[bytes | None] = []
    with tempfile.TemporaryDirectory() as folder:
        seed, out = trained.config.seed, Path(folder) / "picture.png"
        for draw in (
            lambda: save_walk(trained, out, rows=_ROWS, steps=_STEPS, seed=seed, closed=False),
            lambda: save_neighbours(trained, out, num=_NEIGHBOURS, seed=seed, data_dir=data_dir),
        ):
            try:
                draw()
                drawn.append(out.read_bytes())
            except GancliError as error:
                drawn.append(None)
                notes.append(str(error))
    walk, neighbours = drawn
    return walk, neighbours


def _final_score(run: RunFolder) -> dict[str, Any] | None:
    """Return the score of summary.json, unless the run has gone on since it was written."""
    parzen = (run.final_summary() or {}).get("parzen")
    return parzen if isinstance(parzen, dict) else None


def _frames(run: RunFolder) -> list[tuple[int, bytes]]:
    """Return at most FRAMES pictures of epochs, the first and the last among them, in equal ratios."""
    files = sorted(run.path.glob("samples/epoch-*.png"))
    epochs = {int(file.stem.removeprefix("epoch-")): file for file in files if file.stem[6:].isdigit()}
    known = sorted(epochs)
    return [(epoch, epochs[epoch].read_bytes()) for epoch in choose_epochs(known, FRAMES)]


def choose_epochs(known: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the epochs, spaced by equal ratios as far as they are whole."""
    if len(known) <= most:
        return list(known)
    first, last = known[0], known[-1]
    wanted = [first * (last / first) ** (i / (most - 1)) for i in range(most)]
    return sorted({min(known, key=lambda epoch: abs(epoch - at)) for at in wanted})


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    resolved = [path.resolve() for path in paths]
    for length in (1, 2, 3):
        names = ["/".join(path.parts[-length:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
