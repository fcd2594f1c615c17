"""`python -m gancli`, the same as `gancli`."""

from gancli.cli import main

main(prog_name="gancli")
