"""`python -m benchmarks NAME [--json]`: one command per operation."""

from __future__ import annotations

import click

from benchmarks import parzen


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure gancli beside its peers; each is checked against float64 before it is timed."""


main.add_command(parzen.command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
