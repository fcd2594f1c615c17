"""A command on several ranks, as torchrun starts them, speaks as one: rank 0, or the rank that fails first."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TypeVar

import click

from gancli.errors import GancliError, UsageError

T = TypeVar("T")

SHARED = ("train", "parzen")  # the commands whose work several ranks can share


@contextmanager
def one_voice() -> Iterator[None]:
    """Join the job's other ranks for a command and leave the words to rank 0; alone, do nothing.

    All ranks exit with the same code when they refuse the same request, but only the first one's sentence is printed.
    """
    if started_ranks() == 1:
        yield
        return
    from gancli.ranks import joined

    ended = None
    with joined() as ranks:
        try:
            if ranks.leads:
                yield
            else:
                with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                    yield
        except click.exceptions.Exit as error:
            ended = error  # all ranks end so
        except (click.ClickException, GancliError, OSError, KeyboardInterrupt) as error:
            if ranks.fails_first():
                raise
            sys.exit(_exit_code(error))
    if ended is not None:
        raise ended


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 128 + int(getattr(error, "signal", signal.SIGINT))
    return int(getattr(error, "exit_code", GancliError.exit_code))


def require_shared(command: str | None) -> None:
    """Raise UsageError where several ranks were started for a command whose work they cannot share."""
    if started_ranks() > 1 and command not in SHARED:
        raise UsageError(f"gancli {command} runs in one process; start it without torchrun.")


def agreed(decide: Callable[[], T]) -> T:
    """Return what `decide` returns on rank 0, the only one that calls it and need see the files that it reads."""
    if started_ranks() == 1:
        return decide()
    from gancli.ranks import current

    return current().agreed(decide)


def started_ranks() -> int:
    """Return how many ranks were started, from the environment: nothing needs to load torch to know."""
    return _from_environment("WORLD_SIZE", 1)


def restarts() -> dict[str, int]:
    """Return how many times torchrun has started this job again, and how many times it may."""
    return {
        "restarts": _from_environment("TORCHELASTIC_RESTART_COUNT", 0),
        "max_restarts": _from_environment("TORCHELASTIC_MAX_RESTARTS", 0),
    }


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise UsageError(f"The environment variable {name} must be a number, as torchrun sets it, got {text!r}.")
    return int(text)
