"""`gancli data`: which data sets there are, getting them, checking them, looking at them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import print_json
from gancli.cli.help import WholeSentences
from gancli.cli.options import data_dir_option, json_option
from gancli.data.registry import SOURCES, Source, load, resolve_data_dir, short_name, verify
from gancli.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from gancli.data.checksums import FileStatus


@click.group(cls=WholeSentences)
def data() -> None:
    """List, download, check and show data sets.

    \b
    gancli data list
    gancli data download mnist
    """


@data.command("list")
@data_dir_option
@json_option
def list_command(data_dir: str | None, as_json: bool) -> None:
    """List the data sets and where they lie.

    \b
    gancli data list --data-dir ~/data
    """
    folder = resolve_data_dir(data_dir)
    rows = [_describe(source, folder) for source in SOURCES.values()]
    if as_json:
        print_json({"data_dir": str(folder), "datasets": rows})
        return
    table = _table("name", "state", "shape", "examples", "what it is")
    for row in rows:
        counts = "+".join(f"{count // 1000}k" for count in row["counts"]) if row["counts"] else "5 folds"
        shape = "×".join(str(n) for n in row["shape"])
        table.add_row(row["name"], _STATES[row["state"]], shape, counts, row["sentence"])
    _print(table)
    click.echo(f"Examples: train+valid+test. Data folder: {folder} (--data-dir or GANCLI_DATA chooses another).")
    click.echo("Any folder of images, .npy or .npz file can be given as --dataset too.")


def _describe(source: Source, folder: Path) -> dict[str, Any]:
    """One row of the list; whether the files are there is looked up, whether they are right is `verify`'s to say."""
    from gancli.data.sources import cifar10_folder, find_file

    where = None
    if source.name == "cifar10":
        where = cifar10_folder(folder)
    if where is None and source.files:
        paths = [find_file(source.name, file.name, folder) for file in source.files]
        where = paths[0].parent if paths[0] is not None and all(paths) else None
    return {
        "name": source.name,
        "sentence": source.sentence,
        "shape": source.shape,
        "counts": source.counts,
        "state": "built in" if not source.files else "missing" if where is None else "there",
        "where": None if where is None else str(where),
        "downloadable": source.downloadable,
    }


@data.command("download")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@data_dir_option
@json_option
def download_command(names: tuple[str, ...], data_dir: str | None, as_json: bool) -> None:
    """Download data sets, and check them against their published SHA-256.

    \b
    gancli data download mnist cifar10
    """
    from gancli.data.download import download

    paths = {name: [str(path) for path in download(name, data_dir, progress=not as_json)] for name in names}
    if as_json:
        print_json(dict(paths))
        return
    for name, files in paths.items():
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        click.echo(f"{name}: {count} in {Path(files[0]).parent}, as published.")
    click.echo(f"Next: gancli data show {names[0]}, gancli train --dataset {names[0]}")


@data.command("verify")
@click.argument("names", metavar="[NAME...]", nargs=-1)
@data_dir_option
@json_option
def verify_command(names: tuple[str, ...], data_dir: str | None, as_json: bool) -> None:
    """Check data files against their published SHA-256; without a name, those of every set that is there.

    \b
    gancli data verify mnist
    """
    checked = {name: verify(name, data_dir) for name in names or SOURCES}
    if not names:
        checked = {name: files for name, files in checked.items() if any(file.path for file in files)}
    if as_json:
        plain = {
            name: [{**asdict(f), "path": f.path and str(f.path)} for f in files] for name, files in checked.items()
        }
        print_json(plain)
    else:
        for name, files in checked.items():
            _print_checked(name, files)
    bad = [file for files in checked.values() for file in files if file.state in ("differs", "missing")]
    if bad:
        names_of_bad = {name for name, files in checked.items() if any(file in bad for file in files)}
        raise DataError(f"{len(bad)} of the files are missing or not the published ones; {_way_to(names_of_bad)}.")
    if not checked and not as_json:
        click.echo(f"No data files in {resolve_data_dir(data_dir)}; get some with `gancli data download mnist`.")


def _way_to(names: set[str]) -> str:
    """Say how the files of data sets are got: those that may be downloaded, and the others."""
    offered = sorted(name for name in names if SOURCES[name].downloadable)
    others = sorted(names.difference(offered))
    ways = [f"run `gancli data download {' '.join(offered)}`"] if offered else []
    ways += [f"{name} cannot be downloaded: {SOURCES[name].by_hand}" for name in others]
    return "; ".join(ways)


def _print_checked(name: str, files: list[FileStatus]) -> None:
    if not files:
        click.echo(f"{name}: drawn by gancli, nothing to check.")
        return
    folders = sorted({str(file.path.parent) for file in files if file.path})
    click.echo(f"{name} in {', '.join(folders)}:" if folders else f"{name}:")
    table = _table("file", "bytes", "state", "why")
    for file in files:
        shown = file.path.name if file.path else file.name
        table.add_row(shown, "" if file.size is None else f"{file.size:,}", _STATES[file.state], file.detail)
    _print(table)


_STATES = {
    "built in": "[green]built in[/]",
    "there": "[green]there[/]",
    "ok": "[green]ok[/]",
    "unverified": "[yellow]unverified[/]",
    "differs": "[red]differs[/]",
    "missing": "[red]missing[/]",
}


@data.command("show")
@click.argument("name")
@click.option("--num", default=100, metavar="N", show_default=True, type=click.IntRange(1, 10_000), help="Images.")
@click.option("--out", metavar="PNG", type=click.Path(path_type=Path), help="The picture.  [<name>.png]")
@click.option("--seed", default=0, metavar="N", show_default=True, help="Of the sets that gancli draws.")
@data_dir_option
@json_option
def show_command(name: str, num: int, out: Path | None, seed: int, data_dir: str | None, as_json: bool) -> None:
    """Write a picture of the first training images of a data set, or of your own folder or array.

    \b
    gancli data show digits --num 64 --out digits.png
    """
    from gancli.data.preprocess import make_preprocessing
    from gancli.figures.grid import save_grid
    from gancli.figures.pixels import check_ending

    path = out or Path(f"{short_name(name)}.png")
    check_ending(path, ".png")  # before the data are read, which may take a while
    dataset = load(name, data_dir, seed=seed)
    if dataset.shape[1:] == (1, 1):
        raise UsageError(f"{name} holds single numbers, not images; train on it and see Figure 1 instead.")
    images = make_preprocessing("none", dataset).to_display(dataset.train[:num])
    save_grid(path, images, columns=round(len(images) ** 0.5))
    if as_json:
        print_json({"dataset": dataset.name, "num": len(images), "out": str(path)})
    else:
        click.echo(f"Wrote {len(images)} of {len(dataset.train):,} training images of {dataset.name} to {path}.")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        words = column in ("what it is", "why")
        table.add_column(column, no_wrap=not words, justify="right" if column == "bytes" else "left")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)
