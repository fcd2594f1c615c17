"""`gancli train`."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import print_json, result_console
from gancli.cli.one_voice import agreed, restarts, started_ranks
from gancli.cli.options import config_fields, config_options, json_option
from gancli.config import Config, may_change
from gancli.data.registry import require_known
from gancli.errors import UsageError

if TYPE_CHECKING:
    from gancli.train.run_folder import RunFolder

_OPTIONS = config_fields("Data", "Networks", "Algorithm 1", "Optimiser", "Run")


class GroupedOptions(click.Command):
    """A command whose help lists configuration options under the headings of their declarations."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        groups = {declared.name: declared.metadata["group"] for declared in dataclasses.fields(Config)}
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                sections.setdefault(groups.get(parameter.name or "", "Command"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


@click.command(cls=GroupedOptions)
@config_options(*_OPTIONS)
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="Folder of the new run.  [runs/…]")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue that run with its own settings."
)
@click.option("--batch-per-rank", is_flag=True, help="With torchrun: --batch-size is for each rank, not shared by all.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the settings that would be used, and stop.")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events into the run folder.")
@json_option
def train(
    out: Path | None,
    resume: Path | None,
    batch_per_rank: bool,
    dry_run: bool,
    tensorboard: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train the paper's networks by its Algorithm 1.

    The defaults below are the released MNIST configuration's; a preset has others, which --dry-run prints. Presets:
    gancli info. Data sets: gancli data list.

    \b
    gancli train                                   digits that gancli draws itself: about two minutes
    gancli train --dataset mnist                   the paper's MNIST configuration
    gancli train --preset cifar10-conv --epochs 5  another preset, shorter
    gancli train --resume runs/mnist-mnist-…       go on after Ctrl-C or a crash
    torchrun --nproc-per-node 4 -m gancli train    on four GPUs, or four cores, that share each minibatch
    """
    given = {name: value for name, value in settings.items() if value is not None}
    config, run, going_on = agreed(lambda: _settled(given, out, resume, batch_per_rank))
    if dry_run:
        require_known(config.dataset)
        click.echo(config.to_json(), nl=False)
        return

    from gancli.ranks import current
    from gancli.train.trainer import train_run

    ranks = current()
    reporter = _reporter(run.path, tensorboard and ranks.leads)
    try:
        summary = train_run(config, run, reporter, resume=going_on, ranks=ranks)
    except KeyboardInterrupt:  # a second one, or one while the final samples are scored
        if ranks.leads and run.has_checkpoint():
            click.echo(f"Go on from the last checkpoint with: {_resume(str(run.path))}", err=True)
        raise
    if ranks.leads:  # the run folder may lie on its machine alone
        _print_summary(summary, as_json)
    if summary.signal is not None:
        raise click.exceptions.Exit(128 + summary.signal)


def _settled(
    given: dict[str, Any], out: Path | None, resume: Path | None, batch_per_rank: bool
) -> tuple[Config, RunFolder, bool]:
    """Return what is to be trained, where, and whether that has begun before."""
    from gancli.presets import resolve
    from gancli.train.run_folder import new_run, open_run, restarted_run

    if resume is not None:
        if batch_per_rank:
            raise UsageError("--batch-per-rank is for new runs; a run that goes on keeps its minibatch.")
        run = open_run(resume)
        return _resumed(run, given, out), run, True
    rest = {name: value for name, value in given.items() if name not in ("preset", "dataset")}
    config = resolve(given.get("preset"), given.get("dataset"), rest)
    if config.pretrained is not None and "pretrained" not in config.generator:
        raise UsageError(
            "--pretrained RUN stands for a layer 'pretrained' of the generator, which has none; name it with "
            "--generator '…, pretrained', or leave --pretrained out."
        )
    if batch_per_rank:
        config = config.replace(batch_size=config.batch_size * started_ranks())
    begun = restarted_run(config, out, **restarts(), any_batch_size=batch_per_rank)
    if begun is not None:  # by as many ranks as there were then
        config = config.replace(batch_size=begun.config().batch_size)
    return config, begun or new_run(config, out), begun is not None


def _resumed(run: RunFolder, given: dict[str, Any], out: Path | None) -> Config:
    """Return a run's configuration with what may change on the way."""
    config, rows = run.config(), run.read_metrics()
    for name, value in given.items():
        if not may_change(name, getattr(config, name), value):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot change while a run goes on: it has {getattr(config, name)!r}. "
                "Leave the option out, or start a new run without --resume."
            )
    if out is not None:
        raise UsageError("--out names the folder of a new run; --resume continues in the run's own folder.")
    for name, unit in (("epochs", "epoch"), ("steps", "step")):
        if rows and given.get(name, math.inf) < rows[-1].get(unit, 0):
            raise UsageError(f"--{name} {given[name]}: {run.path} has {rows[-1][unit]:,} behind it; ask for more.")
    if "epochs" in given:
        given = {"steps": None, **given}  # a run that --steps ended is to go on
    return config.replace(**given)


def _reporter(run: Path, tensorboard: bool) -> Any:
    from gancli.cli.progress import TrainingProgress

    if not tensorboard:
        return TrainingProgress()
    from gancli.cli.tensorboard import WithTensorBoard

    return WithTensorBoard(TrainingProgress(), run)


def _resume(run: str) -> str:
    return f"gancli train --resume {shlex.quote(run)}"


def _print_summary(summary: Any, as_json: bool) -> None:
    console = result_console(as_json)
    if summary.interrupted:
        console.print(
            f"Stopped after iteration {summary.steps:,}; everything is saved. Go on with:\n  {_resume(summary.run)}",
            markup=False,
        )
    else:
        _print_result(summary, console)
    if as_json:
        print_json(dataclasses.asdict(summary))


def _print_result(summary: Any, console: Any) -> None:
    """Tell where everything lies, the score, and what to try next."""
    from gancli.cli.console import warn
    from gancli.cli.scores import describe
    from gancli.evaluate.scoring import beware_of_edge
    from gancli.reproduce.results import score_from
    from gancli.train.run_folder import RUNS, RunFolder

    run = RunFolder(Path(summary.run))
    pictures = sorted(run.path.glob("samples/epoch-*.png"))
    console.print(f"\nTrained {summary.steps:,} iterations, {summary.steps_per_second:.1f} a second", markup=False)
    for name, value in (
        ("Run folder", summary.run),
        ("Picture", pictures[-1] if pictures else "none"),
        ("Samples", f"{summary.samples} (from {Path(summary.checkpoint).name})"),
        *describe(summary.parzen),
    ):
        console.print(f"  {name:<11} {value}", markup=False)
    for sentence in beware_of_edge(score_from(summary.parzen)):
        warn(sentence)
    console.print("Next", markup=False)
    # Commands that name no run take the newest under runs/.
    named = "" if run.path.parent == RUNS else f" --run {shlex.quote(summary.run)}"
    walk = [] if run.config().preprocessing == "none" else ["sample --interpolate", "sample --nearest"]
    commands = [f"gancli {words}{named}" for words in (*walk, "parzen --plot parzen.png")]
    for command in [*commands, f"{_resume(summary.run)} --epochs N"]:
        console.print(f"  {command}", markup=False)
