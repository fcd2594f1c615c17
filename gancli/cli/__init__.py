"""The command line: one module per command; a command parses options, calls the library, prints."""

from __future__ import annotations

from gancli.cli.group import main as main
