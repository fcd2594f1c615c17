"""Files that are either written whole or not at all: a run that is killed never leaves half a checkpoint."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from io import BufferedRandom, FileIO
from pathlib import Path
from typing import Any, BinaryIO

from gancli.errors import GancliError, WriteError

_NOT_WRITABLE = "the folder {folder} is not writable for this user; choose another path"
_NOT_A_FOLDER = "a part of the path {folder} is a file, not a folder; choose another path"
_REASONS = {
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: "{folder} lies on a read-only file system; choose another path",
    errno.ENOSPC: "the disk that holds {folder} is full; free some space or choose another path",
    errno.EDQUOT: "the disk quota for {folder} is used up; free some space or choose another path",
    errno.EFBIG: "the file would be larger than the system allows; choose another path or raise the limit",
    errno.ENOENT: "the folder {folder} is not there and cannot be made, as if it had been removed; choose another path",
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
}


# What a temporary file is called. The target's name, which may be as long as the file system allows, is not in it.
_PREFIX, _SUFFIX = ".gancli-", ".tmp"


def atomic_write(path: Path, write: Callable[[BinaryIO], None], *, previous: Path | None = None) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part of it.

    The content goes to a temporary file in the same folder (a rename is atomic only within one file system),
    reaches the disk, and then takes the place of `path`; the folder's new entry reaches the disk last. When anything
    fails, an interrupt included, the temporary file is removed and the old file stays as it was. Where `path` is a
    symbolic link, the file that it points to is replaced.

    Args:
        path: The file to write; missing parent folders are created.
        write: Called once with a binary stream open for writing and seeking; it writes the whole content.
        previous: The name, in the same folder, under which the old file is kept once the new one is whole.

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
        _write_and_replace(target, write, previous)
    except OSError as error:
        raise not_written(path, error) from error


def require_folder(folder: Path) -> None:
    """Make a folder where there is none, before what is to be written there takes minutes to compute.

    Args:
        folder: The folder; missing parents are created.

    Raises:
        WriteError: It cannot be made, or this user cannot write to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(folder)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise not_written(folder / "…", error) from error


def not_written(path: Path, error: OSError) -> WriteError:
    """Return the error for a file that the system refused to write: what, why, and what to do."""
    return WriteError(f"cannot write {path}: {_reason(error, Path(os.path.realpath(path)).parent)}")


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


def remove_temporary_files(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder and those below it.

    Only for a folder that no other process writes to now.
    """
    for left in folder.rglob(f"{_PREFIX}*{_SUFFIX}"):
        left.unlink(missing_ok=True)


def _temporary_name(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"


def _write_and_replace(target: Path, write: Callable[[BinaryIO], None], previous: Path | None) -> None:
    temporary = _temporary_name(target.parent)
    # "x" creates it with the permissions that the user's umask asks for; tempfile would give 0600.
    raw = _WatchedFile(temporary, "x+")
    try:
        with BufferedRandom(raw) as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if previous is not None and target.exists():
            _keep(target, target.parent / previous.name)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if raw.failure is not None and isinstance(error, Exception):
            raise raw.failure from error
        raise
    _sync_folder(target.parent)


def _keep(target: Path, previous: Path) -> None:
    """Give the file a second name, `previous`, which is taken away from another file in one step."""
    second = _temporary_name(target.parent)
    try:
        os.link(target, second)
    except OSError:  # no hard links here: for a moment only `previous` is there, which readers fall back to
        os.replace(target, previous)
        return
    try:
        os.replace(second, previous)
    finally:
        second.unlink(missing_ok=True)  # it stays where both names were the same file's already


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can: else a power cut could undo the rename."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError, folder: Path) -> str:
    known = _REASONS.get(error.errno or 0)
    if known is not None:
        return known.format(folder=folder)
    return error.strerror or str(error) or type(error).__name__
