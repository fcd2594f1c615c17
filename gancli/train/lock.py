"""One process at a time trains in a run folder: the others are told which one does."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
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
_LOOKS, _BETWEEN_LOOKS = 10, 0.1  # seconds: how often, and how far apart, an empty lock file is looked at


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; it is made where there is none, and unmade if it stays empty.

    The lock is the operating system's on the file `.lock`, so that it ends with the process however that ends. Where
    the file system has no such locks, the file itself is the lock: it is whose who made it, and one that a killed
    process left is recognised by its process number on the same machine. On Windows, where there is neither lock nor
    harmless way to ask for a process, the user removes such a file.

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
        if sys.platform == "win32":
            file.close()  # what is open cannot be removed there
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
        file, made = _open(path)
        try:
            locked = _try_lock(file)
            held = made if locked is None else locked
            if not held and (locked is not None or not _holder_is_gone(file)):
                raise GancliError(_refusal(path, _read(file)))
            named = _is_named(file, path)
            if held and named:
                file.seek(0)
                file.truncate()
                file.write(f"{os.getpid()} {socket.gethostname()}\n")
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        if named:  # a dead process left it; else its holder ended in between and took the name away. Once more
            path.unlink(missing_ok=True)


def _open(path: Path) -> tuple[TextIO, bool]:
    """Return the lock file, open, and whether this call made it, which of all who try only one does."""
    try:
        return path.open("x+", encoding="utf-8"), True
    except FileExistsError:
        return path.open("a+", encoding="utf-8"), False


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read(200)


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


def _holder_is_gone(file: TextIO) -> bool:
    """Whether the process that made a lock file has ended, as far as this machine can know."""
    looks = 1
    while not (text := _read(file)) and looks < _LOOKS:  # it has just been made, or its maker was killed then
        time.sleep(_BETWEEN_LOOKS)
        looks += 1
    number, _, host = text.strip().partition(" ")
    if not number:
        return True
    if sys.platform == "win32" or host != socket.gethostname() or not number.isdecimal():
        return False  # on Windows os.kill would send a Ctrl-C
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
        f"or train in another folder{forced}."
    )
