"""Whether the files on disk are the published ones."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gancli.data.sources import (
    CIFAR10_MEMBER_BYTES,
    CIFAR10_MEMBERS,
    SOURCES,
    SourceFile,
    cifar10_folder,
    find_file,
)
from gancli.data.untrusted import open_file
from gancli.errors import DataError

_CHUNK = 1 << 20

State = Literal["ok", "unverified", "differs", "missing"]


@dataclass(frozen=True)
class FileStatus:
    """What became of checking one file.

    Attributes:
        name: the file's usual name.
        path: where it lies; None if it is missing.
        size: its bytes on disk.
        state: "ok": SHA-256 as published; "unverified": it is there and nothing published speaks for or against it;
            "differs": it is something else, or damaged; "missing".
        detail: why, in a few words.
    """

    name: str
    path: Path | None
    size: int | None
    state: State
    detail: str


def verify_files(name: str, folder: Path) -> list[FileStatus]:
    """Check every file of a registered data set; none for a set that is drawn.

    Args:
        name: a name of SOURCES.
        folder: the data folder.

    Returns:
        One status for each file, in a fixed order.
    """
    if name == "cifar10" and (unpacked := cifar10_folder(folder)) is not None:
        files = [
            SourceFile(each, content_sha256=digest, content_size=CIFAR10_MEMBER_BYTES)
            for each, digest in CIFAR10_MEMBERS.items()
        ]
        return [_status(file, unpacked / file.name) for file in files]
    return [_status(file, find_file(name, file.name, folder)) for file in SOURCES[name].files]


def _status(file: SourceFile, path: Path | None) -> FileStatus:
    if path is None or not os.path.exists(path):
        return FileStatus(file.name, None, None, "missing", "not there")
    size = path.stat().st_size
    try:
        state, detail = check_file(file, path)
    except DataError as error:
        state, detail = "differs", str(error)
    return FileStatus(file.name, path, size, state, detail)


def check_file(file: SourceFile, path: Path) -> tuple[State, str]:
    """Hold one file against what is published of it.

    Returns:
        A state, never "missing", and the reason in a few words.

    Raises:
        DataError: it cannot be read, or is a damaged gzip file.
    """
    if file.content_sha256 is None and file.file_sha256 is None:
        return "unverified", "no checksum of it has been published"
    if file.file_sha256 is not None and _digest_of_file(path) == file.file_sha256:
        return "ok", "SHA-256 as published"
    if file.content_size is None:
        return "differs", "its SHA-256 is not the one published"
    digest, size = _digest_of_content(path, file.content_size)
    if size != file.content_size:
        more = "more" if size > file.content_size else f"{size:,}"
        return "differs", f"expected {file.content_size:,} bytes of content, got {more}"
    if file.content_sha256 is None:
        return "unverified", "the right size, but not in the packed form whose SHA-256 is published"
    if digest != file.content_sha256:
        return "differs", "the right size, but its SHA-256 is not the one published"
    return "ok", "SHA-256 as published"


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open_file(path) as (file, _):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _digest_of_content(path: Path, limit: int) -> tuple[str, int]:
    """SHA-256 and size of a file, of a .gz unpacked; it is read to at most one byte beyond the limit."""
    digest, size = hashlib.sha256(), 0
    with open_file(path) as (file, _):
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if compressed else file
        try:
            while size <= limit and (chunk := stream.read(min(_CHUNK, limit + 1 - size))):
                digest.update(chunk)
                size += len(chunk)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is a damaged gzip file ({error}); get it again.") from error
    return digest.hexdigest(), size
