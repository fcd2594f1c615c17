"""Files that are either written whole or not at all: a run that is killed never leaves half a checkpoint."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from io import BufferedRandom, FileIO
from pathlib import Path
from typing import Any, BinaryIO

from gancli.errors import GancliError

_NOT_WRITABLE = "the folder {folder} is not writable for this user; choose another path"
_NOT_A_FOLDER = "a part of the path {folder} is a file, not a folder; choose another path"
_REASONS = {
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: "{folder} lies on a read-only file system; choose another path",
    errno.ENOSPC: "the disk that holds {folder} is full; free some space or choose another path",
    errno.EDQUOT: "the disk quota for {folder} is used up; free some space or choose another path",
    errno.EFBIG: "the file would be larger than the system allows; choose another path or raise the limit",
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
}


def atomic_write(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part of it.

    The content goes to a temporary file in the same folder (a rename is atomic only within one file system),
    reaches the disk, and then takes the place of `path`. When anything fails, an interrupt included, the
    temporary file is removed and the old file stays as it was. Where `path` is a symbolic link, the file that
    it points to is replaced.

    Args:
        path: The file to write; missing parent folders are created.
        write: Called once with a binary stream open for writing and seeking; it writes the whole content.

    Raises:
        GancliError: When `path` is a folder or a device, its folder is not writable, the disk is full, or the
            system refuses for another reason.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise GancliError(f"cannot write {path}: it is a folder; name a file")
        if target.exists() and not target.is_file():
            raise GancliError(f"cannot write {path}: it is not a regular file; name another one")
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_and_replace(target, write)
    except OSError as error:
        raise GancliError(f"cannot write {path}: {_reason(error, target.parent)}") from error


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file, whole or not at all.

    Args:
        path: The file to write; missing parent folders are created.
        content: The whole new content.

    Raises:
        GancliError: As for `atomic_write`.
    """

    def write(stream: BinaryIO) -> None:
        stream.write(content)

    atomic_write(path, write)


def atomic_write_text(path: Path, content: str) -> None:
    """Write text to a file as UTF-8, line ends as they are, whole or not at all.

    Args:
        path: The file to write; missing parent folders are created.
        content: The whole new content.

    Raises:
        GancliError: As for `atomic_write`.
    """
    atomic_write_bytes(path, content.encode("utf-8"))


class _WatchedFile(FileIO):
    """A file that remembers why a write failed, since a library in between may replace the error by its own.

    torch.save does: on a full disk it raises a RuntimeError about an unexpected position.
    """

    failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.failure = error
            raise


def _write_and_replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    # The temporary name does not contain the target's, which may be as long as the file system allows.
    temporary = target.parent / f".gancli-{secrets.token_hex(8)}.tmp"
    # "x" creates it with the permissions that the user's umask asks for; tempfile would give 0600.
    raw = _WatchedFile(temporary, "x+")
    try:
        with BufferedRandom(raw) as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if raw.failure is not None and isinstance(error, Exception):
            raise raw.failure from error
        raise


def _reason(error: OSError, folder: Path) -> str:
    known = _REASONS.get(error.errno or 0)
    if known is not None:
        return known.format(folder=folder)
    return error.strerror or str(error) or type(error).__name__
