"""The errors that a user is meant to read: what is wrong, what was expected, what to do next."""

from __future__ import annotations


class GancliError(Exception):
    """Something failed that the user can mend: a missing file, a damaged run, samples with NaN in them."""

    exit_code = 1


class UsageError(GancliError):
    """The request itself is off: an unknown name, a value out of range, options that contradict each other."""

    exit_code = 2


class DataError(GancliError):
    """A data or samples file is missing, truncated, of the wrong kind, or damaged."""


class WriteError(GancliError):
    """A file could not be written: the disk is full, the folder is not writable or has vanished."""


class DivergedError(GancliError):
    """Training has come to numbers that are not finite.

    Attributes:
        where: the iteration, and what was not finite first where that was found.
    """

    def __init__(self, where: str, advice: str) -> None:
        super().__init__(f"Training diverged {where}. {advice}")
        self.where = where


class InputError(GancliError, ValueError):
    """An argument of a public function has the wrong shape, dtype or values; the message names the argument."""


class GancliWarning(UserWarning):
    """Something that went on, but not as it should have: the message is one sentence or two, with the next step."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end, and it does so at once.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


def memory_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had, the machine's or a device's.

    torch has a class for devices only; on the CPU it raises a RuntimeError. This module must not import torch.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )
