"""What watches a reproduction: the command line shows it, tests look on in silence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from gancli.train.reporting import Reporter


class Watch(Protocol):
    """Takes what a reproduction has to tell while it goes on."""

    def say(self, sentence: str) -> None:
        """Tell what begins or ended."""

    def reporter(self) -> Reporter:
        """Return what watches the next training."""

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show how far a count is; the context gives a function that takes how many are done."""
