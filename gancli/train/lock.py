"""One process at a time trains in a run folder: the others are told which one does."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from gancli.errors import GancliError
from gancli.files import remove_temporary_files

if sys.platform != "win32":  # there the lock file alone has to do
    import fcntl

NAME = ".lock"
# What file systems without such locks answer.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; it is made where there is none, and unmade if it stays empty.

    The lock is the operating system's on the file `.lock`, so that it ends with the process however that ends. Where
    the file system has no such locks, the file itself is the lock, and one that a killed process left is recognised
    by its process number on the same machine.

    Raises:
        GancliError: another process holds it, or the folder cannot be written to.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _take(folder / NAME)
    except OSError as error:
        raise GancliError(f"The run folder {folder} cannot be used: {error.strerror or error}.") from error
    try:
        remove_temporary_files(folder)
        yield
    finally:
        # Removed while it is still held: whoever waits for this very file sees that it has lost its name.
        with contextlib.suppress(OSError):  # the folder may have gone, or have become read-only
            (folder / NAME).unlink(missing_ok=True)
        file.close()
        with contextlib.suppress(OSError):  # what is not empty stays
            for each in made:
                each.rmdir()


def _take(path: Path) -> TextIO:
    """Return the lock file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            held = _try_lock(file)
            if held is None:
                file.seek(0)
                held = _holder_is_gone(file.read(200))
            if not held:
                file.seek(0)
                raise GancliError(_refusal(path, file.read(200)))
            if _is_named(file, path):
                file.seek(0)
                file.truncate()
                file.write(f"{os.getpid()} {socket.gethostname()}\n")
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its holder ended in between and took the name away: once more


def _try_lock(file: TextIO) -> bool | None:
    """Whether the lock could be taken; None where the system has no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _holder_is_gone(text: str) -> bool:
    """Whether the process that wrote a lock file has ended, as far as this machine can know."""
    number, _, host = text.strip().partition(" ")
    if not number:
        return True
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _is_named(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refusal(path: Path, text: str) -> str:
    number, _, host = text.strip().partition(" ")
    where = f" on {host}" if host and host != socket.gethostname() else ""
    by = f"Process {number}{where}" if number else "Another process"
    forced = f"; if that process is gone, remove {path}" if where or sys.platform == "win32" else ""
    return (
        f"{by} is training in {path.parent}: wait until it has ended, or stop it (Ctrl-C or SIGTERM saves), "
        f"or choose another --out{forced}."
    )
