"""`gancli report`."""

from __future__ import annotations

from pathlib import Path

import click

from gancli.cli.console import print_json, warn
from gancli.cli.options import backend_option, data_dir_option, device_option, json_option
from gancli.errors import UsageError


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN...]", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default="report.html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The page.  [report.html]",
)
@data_dir_option
@device_option
@backend_option
@json_option
def report(runs: tuple[Path, ...], out: Path, data_dir: str | None, device: str, backend: str, as_json: bool) -> None:
    """Show runs, or the results of gancli reproduce, on one HTML page that needs no network.

    \b
    gancli report                                     the newest run
    gancli report runs/one runs/two --out report.html side by side
    gancli report runs/table1-mnist                   a reproduction with its seeds
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out must end in .html, got {out.name!r}.")

    from gancli.files import atomic_write_text
    from gancli.report.collect import collect
    from gancli.report.page import render_page

    material = collect(runs, data_dir=data_dir, device=device, backend=backend)
    page = render_page(material)
    atomic_write_text(out, page)
    notes = [f"{run.name}: {note}" for run in material.runs for note in dict.fromkeys(run.notes)]
    for note in notes:
        warn(note)
    if as_json:
        runs_shown = [str(run.path) for run in material.runs]
        print_json({"out": str(out), "bytes": len(page.encode()), "runs": runs_shown, "warnings": notes})
        return
    names = ", ".join(run.name for run in material.runs)
    click.echo(f"Wrote {out} ({len(page.encode()) / 1e6:.1f} MB) on {names}; open it in a browser.")
