"""The `gancli` group: its commands, and how errors reach people."""

from __future__ import annotations

import sys
from typing import Any

import click

from gancli import __version__
from gancli.errors import GancliError

INTERRUPTED = 130  # 128 + SIGINT, what shells expect


class Commands(click.Group):
    """A group that turns the library's errors into one sentence and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except GancliError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)
        except BrokenPipeError:
            raise  # click knows what to do: whoever read our output has gone
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}", GancliError.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use rather than of the alphabet."""
        return list(self.commands)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gancli")
def main() -> None:
    """Generative Adversarial Nets (2014), runnable today.

    \b
    gancli train                       train on digits that gancli draws itself, in about two minutes
    gancli sample --interpolate        Figure 3 from the newest run
    gancli parzen                      its Parzen-window log-likelihood, as in Table 1
    gancli evaluate                    its divergence from the data, precision, recall, MMD
    gancli theory                      Figure 1, and what the paper proves beside exact figures
    """


def _register() -> None:
    from gancli.cli.data import data
    from gancli.cli.evaluate import evaluate
    from gancli.cli.info import info
    from gancli.cli.parzen import parzen
    from gancli.cli.sample import sample
    from gancli.cli.theory import theory
    from gancli.cli.train import train

    for command in (train, sample, parzen, evaluate, theory, data, info):
        main.add_command(command)


_register()
