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


class InputError(GancliError, ValueError):
    """An argument of a public function has the wrong shape, dtype or values; the message names the argument."""
