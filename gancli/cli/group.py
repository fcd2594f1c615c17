"""The `gancli` group: its commands, and how errors reach people."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from gancli import __version__
from gancli.cli.help import WholeSentences
from gancli.cli.one_voice import one_voice, require_shared
from gancli.errors import GancliError, GancliWarning, Stopped, memory_shortage

_SIGNALLED = 128  # plus the signal's number: what shells expect of a command that a signal ended


class Commands(WholeSentences):
    """A group that turns the library's errors into one sentence and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _signals_unwind(), _warnings_as_sentences(), one_voice():
                return super().invoke(ctx)
        except GancliError as error:
            _fail(str(error), error.exit_code)
        except Stopped as error:
            _fail(f"stopped by {signal.Signals(error.signal).name}", _SIGNALLED + error.signal)
        except KeyboardInterrupt:
            _fail("interrupted", _SIGNALLED + signal.SIGINT)
        except BrokenPipeError:
            raise  # click knows what to do: whoever read our output has gone
        except (MemoryError, RuntimeError) as error:
            if not memory_shortage(error):
                raise
            _fail(
                "there is too little memory for this; ask for fewer samples (--num, --num-samples) or use --device cpu",
                GancliError.exit_code,
            )
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}", GancliError.exit_code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, one that can run as it was started."""
        name, command, rest = super().resolve_command(ctx, args)
        require_shared(name)
        return name, command, rest


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that no temporary file is left behind.

    Signals that are ignored, as nohup asks for, stay so.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Print the library's own warnings as a sentence; all others as Python does."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, GancliWarning):
                click.echo(f"Warning: {message}", err=True)
            else:
                usual(message, category, *rest, **more)

        warnings.simplefilter("always", GancliWarning)
        warnings.showwarning = show
        yield


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
    from gancli.cli.report import report
    from gancli.cli.reproduce import reproduce
    from gancli.cli.sample import sample
    from gancli.cli.theory import theory
    from gancli.cli.train import train

    for command in (train, sample, parzen, evaluate, reproduce, report, theory, data, info):
        main.add_command(command)


_register()
