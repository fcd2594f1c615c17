"""Where words go: results to standard output, progress to standard error; with --json only the object to the first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def progress_console() -> Console:
    """Return rich's console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def result_console(as_json: bool) -> Console:
    """Return the console for people's output: standard output, or standard error when that is left to JSON."""
    from rich.console import Console

    return Console(stderr=as_json, highlight=False, soft_wrap=True)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while things are counted; nothing where that is no terminal.

    Yields:
        A function that takes how many are done.
    """
    console = progress_console()
    if not console.is_terminal:
        yield lambda done: None
        return
    with progress_bars(console) as bars:
        task = bars.add_task(what, total=total, beside="")
        yield lambda done: bars.update(task, completed=done)


def progress_bars(console: Console) -> Progress:
    """Return bars that vanish at the end: what is counted, how many, a text `beside` that, time gone and time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=4,
        expand=True,
        transient=True,
    )


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    click.echo(json.dumps(content, ensure_ascii=False))


def warn(sentence: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"Warning: {sentence}", err=True)
