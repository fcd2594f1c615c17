"""`gancli reproduce`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import counting, print_json, progress_console, warn
from gancli.cli.options import config_options, json_option

if TYPE_CHECKING:
    from gancli.train.trainer import Reporter

_STOPPED = 130  # 128 + SIGINT, as `gancli train`


class _Shown:
    """Shows a reproduction on standard error."""

    def say(self, sentence: str) -> None:
        progress_console().print(sentence, markup=False, soft_wrap=True)

    def reporter(self) -> Reporter:
        from gancli.cli.progress import TrainingProgress

        return TrainingProgress()

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return counting(what, total)


def _out(name: str) -> Callable[[Any], Any]:
    return click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", help=f"Folder of the runs and results.  [{name}]"
    )


_where = config_options("epochs", "steps", "data_dir", "device", "backend")


@click.group()
def reproduce() -> None:
    """Make a table or figure of the paper anew, with one command that may be stopped and run again.

    \b
    gancli reproduce table1-mnist          225 ± 2, from training to the table
    """


def _finish(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a reproduction; after Ctrl-C say how to go on."""
    from gancli.reproduce.runs import StoppedError

    try:
        result = work()
    except StoppedError:
        click.echo("Stopped; everything is saved. The same command goes on.", err=True)
        raise click.exceptions.Exit(_STOPPED) from None
    for sentence in result["warnings"]:
        warn(sentence)
    return result


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


@reproduce.command("table1-mnist")
@click.option(
    "--preset", default="mnist", metavar="NAME", help="What to train: mnist, or another preset for MNIST.  [mnist]"
)
@click.option("--seeds", default=3, type=click.IntRange(1, 100), metavar="N", help="Seeds to train: 1 to N.  [3]")
@click.option(
    "--curve-samples",
    default=1_000_000,
    type=click.IntRange(min=1),
    metavar="N",
    help="How far the curve over the number of samples goes.  [1000000]",
)
@_where
@_out("runs/table1-PRESET")
@json_option
def table1_mnist(preset: str, seeds: int, curve_samples: int, out: Path | None, as_json: bool, **settings: Any) -> None:
    """Train, score and tabulate the adversarial nets' MNIST row of Table 1: 225 ± 2.

    Runs that lie in DIR/seed-1, DIR/seed-2, … are taken up, also those begun by gancli train. More --epochs than
    before make them longer.

    \b
    gancli reproduce table1-mnist                       three seeds of the released configuration
    gancli reproduce table1-mnist --preset mnist-tuned  another preset
    """
    from gancli.cli.tables import print_table1
    from gancli.reproduce.table1 import reproduce_table1
    from gancli.reproduce.targets import TABLE1_MNIST

    folder = out or Path("runs") / f"table1-{preset}"
    result = _finish(
        lambda: reproduce_table1(
            TABLE1_MNIST,
            folder,
            preset=preset,
            seeds=seeds,
            changes=_given(settings),
            curve_samples=curve_samples,
            watch=_Shown(),
        )
    )
    if as_json:
        print_json(result)
    else:
        print_table1(result, folder)
