"""`gancli reproduce`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import counting, print_json, progress_console, warn
from gancli.cli.help import WholeSentences
from gancli.cli.options import backend_option, config_options, data_dir_option, device_option, json_option
from gancli.errors import Stopped

if TYPE_CHECKING:
    from gancli.train.reporting import Reporter


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


_where = config_options("epochs", "steps", "data_dir", "device", "backend", epochs="by preset; said at the start")


@click.group(cls=WholeSentences)
def reproduce() -> None:
    """Make a table or figure of the paper anew, with one command that may be stopped and run again.

    \b
    gancli reproduce table1-mnist     the row of 225 ± 2, from training to the table
    gancli reproduce table1-tfd       the row of 2057 ± 26, for those who have the data
    gancli reproduce cifar10          Figure 2 c and d
    gancli reproduce figures          Figures 2 and 3 from the runs of the other commands
    """


def _finish(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a reproduction; after a signal say how to go on."""
    try:
        result = work()
    except Stopped as stopped:
        click.echo("Stopped. The same command goes on from what is saved.", err=True)
        raise click.exceptions.Exit(128 + stopped.signal) from None
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
    "--starts",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Begin with the seeds 1 to N; only the --seeds best of them by validation go on.  [as many as --seeds]",
)
@click.option(
    "--start-epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Epochs after which these are chosen.  [8]",
)
@click.option(
    "--curve-samples",
    default=1_000_000,
    type=click.IntRange(min=1),
    metavar="N",
    help="How far the curve over the number of samples goes.  [1000000]",
)
@config_options("average", average="by preset")
@_where
@_out("runs/table1-PRESET")
@json_option
def table1_mnist(
    preset: str,
    seeds: int,
    starts: int | None,
    start_epochs: int | None,
    curve_samples: int,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train, score and tabulate the adversarial nets' MNIST row of Table 1: 225 ± 2.

    Runs that lie in DIR/seed-1, DIR/seed-2, … are taken up, also those begun by gancli train. More --epochs than
    before make them longer.

    \b
    gancli reproduce table1-mnist                       three seeds of the released configuration
    gancli reproduce table1-mnist --preset mnist-tuned  another preset
    gancli reproduce table1-mnist --starts 8            the three best of eight starts
    gancli reproduce table1-mnist --average 0.9999      the same, sampled from an average of G's weights
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
            starts=starts,
            start_epochs=start_epochs,
            changes=_given(settings),
            curve_samples=curve_samples,
            watch=_Shown(),
        )
    )
    if as_json:
        print_json(result)
    else:
        print_table1(result, folder)


@reproduce.command("table1-tfd")
@_where
@_out("runs/table1-tfd")
@json_option
def table1_tfd(out: Path | None, as_json: bool, **settings: Any) -> None:
    """Train both stages on the Toronto Face Database and score all five folds: 2057 ± 26.

    TFD is available by permission of its authors only; TFD_48x48.mat goes into DIR/tfd/ of --data-dir DIR.

    \b
    gancli reproduce table1-tfd --data-dir DIR
    """
    from gancli.cli.tables import print_tfd
    from gancli.reproduce.targets import TABLE1_TFD
    from gancli.reproduce.tfd import reproduce_tfd

    folder = out or Path("runs/table1-tfd")
    result = _finish(lambda: reproduce_tfd(TABLE1_TFD, folder, changes=_given(settings), watch=_Shown()))
    if as_json:
        print_json(result)
    else:
        print_tfd(result, folder)


@reproduce.command("cifar10")
@click.option(
    "--preset",
    "presets",
    multiple=True,
    metavar="NAME",
    help="Train this one alone; may be repeated.  [cifar10, cifar10-conv]",
)
@_where
@_out("runs/cifar10")
@json_option
def cifar10(presets: tuple[str, ...], out: Path | None, as_json: bool, **settings: Any) -> None:
    """Train CIFAR-10 configurations and draw Figure 2 c and d.

    The released ones take days on a CPU; ours, cifar10-tuned and cifar10-conv-tuned, an hour.

    \b
    gancli reproduce cifar10 --preset cifar10-tuned --preset cifar10-conv-tuned
    gancli reproduce cifar10 --epochs 20
    """
    from gancli.cli.tables import print_cifar10
    from gancli.reproduce.cifar10 import reproduce_cifar10
    from gancli.reproduce.targets import CIFAR10

    folder = out or Path("runs/cifar10")
    result = _finish(
        lambda: reproduce_cifar10(
            CIFAR10, folder, presets=presets or CIFAR10.presets, changes=_given(settings), watch=_Shown()
        )
    )
    if as_json:
        print_json(result)
    else:
        print_cifar10(result, folder)


@reproduce.command("figures")
@click.argument("runs", nargs=-1, metavar="[RUN...]", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default="figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the pictures.  [figures]",
)
@data_dir_option
@device_option
@backend_option
@json_option
def figures(runs: tuple[Path, ...], out: Path, data_dir: str | None, device: str, backend: str, as_json: bool) -> None:
    """Draw Figures 2 and 3 from trained runs, by default those of the other gancli reproduce commands.

    \b
    gancli reproduce figures
    gancli reproduce figures runs/mine --out pictures
    """
    from gancli.cli.tables import print_figures
    from gancli.reproduce.figures import reproduce_figures

    result = _finish(lambda: reproduce_figures(runs, out, data_dir=data_dir, device=device, backend=backend))
    if as_json:
        print_json(result)
    else:
        print_figures(result)
