"""`gancli theory`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gancli.cli.console import print_json, progress_console, result_console
from gancli.cli.options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from gancli.theory.coverage import Coverage
    from gancli.theory.line import LineReport
    from gancli.theory.propositions import Check

# Here, as words, so that --help loads no torch; a test holds them against gancli.theory.targets.
_SHOWN = 5  # of the reports, which are also the frames of the animation, every fifth is printed
DATA = ("one", "several", "far", "ring", "grid")


@click.command()
@click.option(
    "--data",
    default="one",
    metavar="|".join(DATA),
    help="On the line: one mode, several, or two far apart. In the plane: 8 modes on a ring, 25 on a grid.  [one]",
)
@click.option("--k", type=click.IntRange(min=1), metavar="N", help="D's steps per iteration.  [what suits the data]")
@click.option("--loss", default="non-saturating", metavar="minimax|non-saturating", help="G's loss.  [non-saturating]")
@click.option("--steps", type=click.IntRange(min=2), metavar="N", help="Iterations.  [what suits the data]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Of everything.  [what suits the data]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("theory"),
    metavar="DIR",
    help="Folder for the pictures and theory.json.  [theory]",
)
@json_option
def theory(data: str, k: int | None, loss: str, steps: int | None, seed: int | None, out: Path, as_json: bool) -> None:
    """Draw Figure 1, and check what the paper proves against exact figures.

    \b
    gancli theory                                  Figure 1, its animation, the propositions
    gancli theory --data far --loss minimax        modes far apart, the saturating loss
    gancli theory --data ring --out ring           are all 8 modes found?
    """
    from gancli.theory.show import Listener, show

    console = result_console(as_json)
    tables = _Tables(console, progress_console())
    listener = Listener(report=tables.report, check=tables.check, note=tables.note)
    shown = show(data, out, k=k, loss=loss, seed=seed, steps=steps, listener=listener)
    if as_json:
        print_json(shown.as_dict())
    else:
        for remark in shown.remarks:
            click.echo(remark, err=True)
        for file in shown.files:
            console.print(f"  wrote {file}", markup=False)
    if not all(check.passed for check in shown.checks):
        raise click.exceptions.Exit(1)


class _Tables:
    """Prints the game's reports and the checks as they come."""

    def __init__(self, console: Console, aside: Console) -> None:
        self._console, self._aside = console, aside
        self._reports = 0
        self._pending: LineReport | Coverage | None = None

    def report(self, report: LineReport | Coverage) -> None:
        """Print every fifth report, and before the first what the columns are."""
        if self._reports == 0:
            self._console.print("  ".join(f"{name:>{len(text)}}" for name, text in _columns(report)), markup=False)
        self._pending = report
        if self._reports % _SHOWN == 0:
            self._flush()
        self._reports += 1

    def note(self, words: str) -> None:
        """Print the last report, if it was not one of those, and what is being done now."""
        self._flush()
        self._aside.print(f"… {words}", markup=False)

    def _flush(self) -> None:
        if self._pending is not None:
            values = _columns(self._pending)
            self._console.print("  ".join(f"{text:>{len(name)}}" for name, text in values), markup=False)
        self._pending = None

    def check(self, check: Check) -> None:
        """Print what is claimed, and below it the figure that was computed and whether it agrees."""
        limit = f"≥ {check.least:.0e}" if check.most == float("inf") else f"≤ {check.most:.0e}"
        state = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        self._console.print(f"{state}  {check.claim}")
        self._console.print(f"      {check.tried_on}: {check.figure} = {check.computed:.3g} ({limit})", markup=False)


def _columns(report: LineReport | Coverage) -> list[tuple[str, str]]:
    """Return (heading, text) for each column of a report, nats unless it is a share."""
    from gancli.theory.coverage import Coverage

    step = ("iteration", f"{report.step:>9,}")
    if isinstance(report, Coverage):
        captured = f"{report.captured:>5} of {report.modes:<2}"
        return [step, ("modes captured", f"{captured:>14}"), ("good samples", f"{report.good:>12.1%}")]
    return [
        step,
        ("V(D, G)", f"{report.value:>9.6f}"),
        ("C(G)", f"{report.c_of_g:>9.6f}"),
        ("C(G)+log 4", f"{2 * report.jsd:>10.2e}"),
        ("JSD", f"{report.jsd:>9.6f}"),
        ("KL(data‖g)", f"{report.kl_data_model:>10.4f}"),
        ("KL(g‖data)", f"{report.kl_model_data:>10.4f}"),
        ("max|D−D*|", f"{report.largest_error:>9.4f}"),
    ]
