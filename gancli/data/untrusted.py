"""Files that cannot be trusted: opened only when they are plain files, and the limits on what they unpack to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gancli.errors import DataError

# What a compressed file may unpack to. A few bytes of deflate can stand for a thousand times as many, so a limit of
# our own is the only one that holds; plain files are bounded by their own size and need none.
MAX_UNPACKED_BYTES = 1 << 30
# Deflate cannot do better than 1032 : 1, so a header that promises more is lying whatever the data are.
MAX_DEFLATE_RATIO = 1032


def describe_os_error(error: OSError) -> str:
    """The operating system's own words, without the errno and the path that the sentence already has."""
    return error.strerror or type(error).__name__


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a plain file for reading, together with its size.

    Folders, pipes and devices are refused: reading one could block for ever or never end.

    Yields:
        The open file and its size in bytes.

    Raises:
        DataError: the file is missing, unreadable or not a plain file.
    """
    try:
        # O_NONBLOCK: opening a pipe without a writer would otherwise wait before we can look at what it is.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL byte in the name
        raise DataError(f"{str(path)!r} is not a file name: {error}.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; check the path.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {describe_os_error(error)}.") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{path} is a folder, where a file was expected; name the file inside it.")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is a device or a pipe, where a plain file was expected; copy it to a file first.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(descriptor)
