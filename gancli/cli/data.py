"""`gancli data`: which data sets there are, getting them, checking them, looking at them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gancli.cli.options import data_dir_option, json_option
from gancli.data.registry import SOURCES, Source, load, resolve_data_dir, short_name, verify
from gancli.errors import DataError, UsageError


@click.group()
def data() -> None:
    """List, download, check and show data sets."""


@data.command("list")
@data_dir_option
@json_option
def list_command(data_dir: str | None, as_json: bool) -> None:
    r"""List the data sets and where they lie.

    \b
    Example:
      gancli data list --data-dir ~/data
    """
    folder = resolve_data_dir(data_dir)
    rows = [_describe(source, folder) for source in SOURCES.values()]
    if as_json:
        click.echo(json.dumps({"data_dir": str(folder), "datasets": rows}))
        return
    table = _table("name", "shape", "train", "valid", "test", "where", "what it is")
    for row in rows:
        counts = [f"{count:,}" for count in row["counts"]] if row["counts"] else ["by fold"] * 3
        shape = "×".join(str(n) for n in row["shape"])
        table.add_row(row["name"], shape, *counts, row["where"] or "[yellow]missing[/]", row["sentence"])
    _print(table)
    click.echo(f"Data folder: {folder} (--data-dir or GANCLI_DATA chooses another).")
    click.echo("Any folder of images, .npy or .npz file can be given as --dataset too.")


def _describe(source: Source, folder: Path) -> dict[str, Any]:
    """One row of the list; whether the files are there is looked up, whether they are right is not."""
    from gancli.data.sources import cifar10_folder, find_file

    if not source.files:
        where: str | None = "drawn by gancli"
    elif source.name == "cifar10" and (unpacked := cifar10_folder(folder)) is not None:
        where = str(unpacked)
    else:
        paths = [find_file(source.name, file.name, folder) for file in source.files]
        where = str(paths[0].parent) if paths[0] is not None and all(paths) else None
    return {
        "name": source.name,
        "sentence": source.sentence,
        "shape": source.shape,
        "counts": source.counts,
        "where": where,
        "downloadable": source.downloadable,
    }


@data.command("download")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@data_dir_option
@json_option
def download_command(names: tuple[str, ...], data_dir: str | None, as_json: bool) -> None:
    r"""Download data sets, and check them against their published SHA-256.

    \b
    Example:
      gancli data download mnist cifar10
    """
    from gancli.data.download import download

    paths = {name: [str(path) for path in download(name, data_dir, progress=not as_json)] for name in names}
    if as_json:
        click.echo(json.dumps(paths))
        return
    for name, files in paths.items():
        click.echo(f"{name}: {len(files)} files in {Path(files[0]).parent}, all as published.")
    click.echo(f"Next: gancli data show {names[0]}, gancli train --dataset {names[0]}")


@data.command("verify")
@click.argument("names", metavar="[NAME...]", nargs=-1)
@data_dir_option
@json_option
def verify_command(names: tuple[str, ...], data_dir: str | None, as_json: bool) -> None:
    r"""Check data files against their published SHA-256; without a name, those of every set that is there.

    \b
    Example:
      gancli data verify mnist
    """
    checked = {name: verify(name, data_dir) for name in names or SOURCES}
    if not names:
        checked = {name: files for name, files in checked.items() if any(file.path for file in files)}
    if as_json:
        plain = {
            name: [{**asdict(f), "path": f.path and str(f.path)} for f in files] for name, files in checked.items()
        }
        click.echo(json.dumps(plain))
    else:
        table = _table("data set", "file", "bytes", "state", "why")
        for name, files in checked.items():
            for file in files:
                size = "" if file.size is None else f"{file.size:,}"
                table.add_row(name, str(file.path or file.name), size, _STATES[file.state], file.detail)
            if not files:
                table.add_row(name, "", "", _STATES["ok"], "drawn by gancli, nothing to check")
        _print(table)
    bad = [file for files in checked.values() for file in files if file.state in ("differs", "missing")]
    if bad:
        names_of_bad = sorted({name for name, files in checked.items() if any(file in bad for file in files)})
        raise DataError(
            f"{len(bad)} files are missing or not the published ones; run `gancli data download "
            f"{' '.join(names_of_bad)}`."
        )
    if not checked and not as_json:
        click.echo(f"No data files in {resolve_data_dir(data_dir)}; get some with `gancli data download mnist`.")


_STATES = {
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
    r"""Write a picture of the first training images of a data set, or of your own folder or array.

    \b
    Example:
      gancli data show digits --num 64 --out digits.png
    """
    from gancli.data.preprocess import make_preprocessing
    from gancli.figures.grid import save_grid

    dataset = load(name, data_dir, seed=seed)
    if dataset.shape[1:] == (1, 1):
        raise UsageError(f"{name} holds single numbers, not images; train on it and see Figure 1 instead.")
    images = make_preprocessing("none", dataset).to_display(dataset.train[:num])
    path = out or Path(f"{short_name(name)}.png")
    save_grid(path, images, columns=round(len(images) ** 0.5))
    if as_json:
        click.echo(json.dumps({"dataset": dataset.name, "num": len(images), "out": str(path)}))
    else:
        click.echo(f"Wrote {len(images)} of {len(dataset.train):,} training images of {dataset.name} to {path}.")


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("train", "valid", "test") else "left")
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
