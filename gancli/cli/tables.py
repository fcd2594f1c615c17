"""Results of reproductions as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.cli.console import result_console
from gancli.cli.scores import figure

if TYPE_CHECKING:
    from rich.table import Table


def print_table1(result: Mapping[str, Any], out: Path) -> None:
    """Print the paper's row beside ours, every seed, the baselines and the error bars."""
    from gancli.reproduce.baselines import BASELINES
    from gancli.reproduce.results import model_of
    from gancli.reproduce.timing import in_words

    console = result_console(False)
    first = result["seeds"][0]
    console.print(
        f"\nParzen-window log-likelihood in nats on {result['dataset']}, {first['num_samples']:,} samples;\n"
        f"σ by {first['num_validation']:,} validation examples, mean ± standard error over {first['num_test']:,} test "
        "examples",
        markup=False,
    )
    table = _table("", "nats", "σ refined", "")
    for row in result["published"]:
        table.add_row(row["model"], row["text"], "", row["source"])
    count = len(result["seeds"])
    table.add_section()
    table.add_row(
        f"[b]{model_of(result)}, {'one seed' if count == 1 else f'mean of {count} seeds'}[/]",
        f"[b]{figure(result)}[/]",
        _plain(result["refined_log_likelihood"]),
        "" if result["spread"] is None else f"± {result['spread']:.2f} over seeds",
    )
    for row in result["seeds"]:
        table.add_row(
            f"  seed {row['seed']}",
            figure(row),
            "" if row["refined"] is None else figure(row["refined"]),
            f"epoch {row['best_epoch']}, {in_words(row['training_seconds'])}",
        )
    table.add_section()
    for baseline in BASELINES:
        score = result["baselines"][baseline.name]
        published = "" if baseline.published is None else f"published: {baseline.published}"
        table.add_row(baseline.name, figure(score["estimate"]), figure(score["refined"]), published)
    console.print(table)
    bars = result["error_bars"]
    seeds = "" if bars["seeds"] is None else f", training seeds {bars['seeds']:.2f}"
    console.print(
        f"Error bars: test images {bars['test_images']:.2f}, draws of samples {bars['draws']:.2f}{seeds}",
        markup=False,
    )
    last = result["over_samples"][-1]
    if "starts" in result:
        _print_starts(result["starts"])
    console.print(f"From {last['num_samples']:,} samples, seed {first['seed']}: {figure(last)}", markup=False)
    console.print(
        f"On training images, seed {first['seed']}: {figure(result['on_training_images']['estimate'])}\n"
        f"Wrote {out / 'result.json'} and {out / 'result.md'}\nNext\n  gancli report {out} --out report.html",
        markup=False,
    )


def _print_starts(starts: Mapping[str, Any]) -> None:
    """Print how each start stood when the choice was made, and what became of it."""
    from gancli.reproduce.starts import fate, starts_in_words
    from gancli.reproduce.timing import in_words

    table = _table("starts", "validation", "training", "")
    for row in starts["seeds"]:
        validation = _plain(row["validation_log_likelihood"])
        table.add_row(f"  seed {row['seed']}", validation, in_words(row["training_seconds"]), fate(row))
    console = result_console(False)
    console.print()
    console.print(table)
    console.print(f"{starts_in_words(starts)}\n", markup=False)


def print_tfd(result: Mapping[str, Any], out: Path) -> None:
    """Print the published rows beside ours, and every fold."""
    console = result_console(False)
    table = _table("", "nats", "σ", "")
    for row in result["published"]:
        table.add_row(row["model"], row["text"], "", row["source"])
    table.add_section()
    table.add_row(f"[b]{result['preset']}[/]", f"[b]{figure(result)}[/]", "", "± across folds")
    for number, score in enumerate(result["folds"]):
        estimate = score["estimate"]
        table.add_row(f"  fold {number}", figure(estimate), f"{estimate['sigma']:.4f}", "± over test images")
    console.print(table)
    console.print(f"Wrote {out / 'result.json'} and {out / 'result.md'}", markup=False)


def print_cifar10(result: Mapping[str, Any], out: Path) -> None:
    """Print each run's figures and where its grid lies."""
    console = result_console(False)
    for row in result["runs"]:
        console.print(
            f"{row['preset']}, {row['epochs']:,} epochs ({row['steps']:,} iterations)\n"
            f"  Grid        {row['picture']}\n"
            f"  Diversity   mean distance of samples {row['samples_distance']:.2f}, of data "
            f"{row['data_distance']:.2f}, ratio {row['distance_ratio']:.2f}\n"
            f"  Parzen      {figure(row)} nats, for the record",
            markup=False,
        )
    console.print(f"Wrote {out / 'result.json'} and {out / 'result.md'}", markup=False)


def print_figures(result: Mapping[str, Any]) -> None:
    """Print what was drawn from which run, and which panels have none."""
    console = result_console(False)
    for name, about in result["figures"].items():
        files = ", ".join(about["files"])
        console.print(
            f"{name}: {files}, from {about['run']} ({about['preset']}, iteration {about['step']:,})", markup=False
        )
    for sentence in result["missing"]:
        console.print(sentence, markup=False)


_WIDTHS = (20, 14, 14, 10)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _table(*heads: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number, head in enumerate(heads):
        # The last column gives way where the terminal is narrow.
        figures = number in (1, 2)
        table.add_column(head, justify="right" if figures else "left", no_wrap=number < 3, min_width=_WIDTHS[number])
    return table
