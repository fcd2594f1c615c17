"""How help looks where click's own way is not enough."""

from __future__ import annotations

import click


class WholeSentences(click.Group):
    """A group whose help lists its commands in the order of use, each with its whole sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use rather than of the alphabet."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and their sentences."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=1000)) for name, one in self.commands.items()])
