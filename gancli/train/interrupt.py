"""Ctrl-C, and a scheduler's or terminal's end, as a request: the iteration in progress ends and the run is saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from gancli.errors import Stopped

# What asks a process to end: Ctrl-C, kill and schedulers, a terminal that was closed (not on Windows).
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # fmt: skip


class StopRequest:
    """While active, the first of SIGINT, SIGTERM and SIGHUP is noted in `signal`; a second one raises Stopped.

    A signal that was ignored before, as nohup does with SIGHUP, stays ignored. Outside the main thread, where Python
    cannot take signals, nothing is ever requested.

    Attributes:
        signal: number of the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether any signal has asked."""
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise Stopped(number)
        self.signal = number
