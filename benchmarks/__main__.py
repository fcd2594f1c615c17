"""`python -m benchmarks NAME [--json]`: one command per operation."""

from __future__ import annotations

import click

from benchmarks import gpu, gpu_train, maxout, parzen, ranks, scaling, train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure gancli beside its peers; each is checked against float64 before it is timed."""


for module in (parzen, maxout, train, gpu, gpu_train, ranks, scaling):
    main.add_command(module.command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
