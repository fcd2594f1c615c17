"""CIFAR-10's binary version: 10,000 records a file, each a label and 3,072 pixels, red then green then blue."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from gancli.data.dataset import Dataset
from gancli.data.sources import (
    CIFAR10_ARCHIVE,
    CIFAR10_MEMBER_BYTES,
    CIFAR10_MEMBERS,
    candidate_folders,
    cifar10_folder,
    find_file,
    missing_files,
)
from gancli.data.untrusted import open_file
from gancli.errors import DataError

_REMEDY = "get it again with `gancli data download cifar10`"
_PYTHON_VERSION = ("cifar-10-python.tar.gz", "cifar-10-batches-py")
# The official archive unpacks to 184,380,000 bytes of records and some kilobytes of text and padding.
_MAX_ARCHIVE_BYTES = 192 << 20
_RECORDS, _RECORD_BYTES = 10_000, 3_073
_BLOCK = 512  # bytes of a tar archive's header, and what its files are filled up to


def load_cifar10(folder: str | Path) -> Dataset:
    """CIFAR-10 as the paper's configurations split it: the first 40,000 training images, the last 10,000, the test.

    Args:
        folder: the data folder that holds `cifar10/`, or that folder itself; in it the six .bin files, or
            `cifar-10-batches-bin/` with them, or the official .tar.gz, which is read without unpacking it to disk.

    Returns:
        32×32 colour images, uint8 (n, 3, 32, 32); 40,000 + 10,000 + 10,000.

    Raises:
        DataError: nothing there, only the Python version there, or a file is damaged.
    """
    folder = Path(folder)
    images = np.empty((len(CIFAR10_MEMBERS), _RECORDS, 3, 32, 32), dtype=np.uint8)
    if (bin_folder := cifar10_folder(folder)) is not None:
        for index, name in enumerate(CIFAR10_MEMBERS):
            _read_file(bin_folder / name, images[index])
    elif (archive := find_file("cifar10", CIFAR10_ARCHIVE, folder)) is not None:
        _read_archive(archive, images)
    else:
        raise _missing(folder)
    every = torch.from_numpy(images).reshape(-1, 3, 32, 32)
    return Dataset(name="cifar10", train=every[:40_000], valid=every[40_000:50_000], test=every[50_000:])


def _missing(folder: Path) -> DataError:
    for candidate in candidate_folders("cifar10", folder):
        for name in _PYTHON_VERSION:
            if os.path.exists(candidate / name):
                return DataError(
                    f"{candidate / name} is CIFAR-10's Python version, which is not read since unpickling a download "
                    f"can run anything; get the binary version, {CIFAR10_ARCHIVE}, with `gancli data download cifar10`."
                )
    return missing_files("cifar10", ["cifar-10-batches-bin/*.bin", CIFAR10_ARCHIVE], folder)


def _read_file(path: Path, out: np.ndarray) -> None:
    with open_file(path) as (file, size):
        if size != CIFAR10_MEMBER_BYTES:
            raise DataError(
                f"{path} has the wrong size: expected {CIFAR10_MEMBER_BYTES:,} bytes, got {size:,}; {_REMEDY}."
            )
        _take_records(file.read(CIFAR10_MEMBER_BYTES), out, str(path))


def _read_archive(path: Path, out: np.ndarray) -> None:
    """Read the six members as they come by; whatever else is in the archive is passed over, and nothing is written."""
    order = {name: index for index, name in enumerate(CIFAR10_MEMBERS)}
    with open_file(path) as (file, _), gzip.GzipFile(fileobj=file) as unzipped:
        stream = _Bounded(unzipped)
        try:
            for name, size in _tar_members(stream):
                if name not in order:
                    stream.skip(size)
                    continue
                if size != CIFAR10_MEMBER_BYTES:
                    raise DataError(
                        f"{path} is damaged: expected {CIFAR10_MEMBER_BYTES:,} bytes of {name}, got {size:,}; "
                        f"{_REMEDY}."
                    )
                _take_records(stream.take(size), out[order.pop(name)], f"{path} ({name})")
                stream.take(-size % _BLOCK)
        except (EOFError, OSError, zlib.error, ValueError) as error:
            raise DataError(f"{path} is damaged ({str(error)[:100]}); {_REMEDY}.") from error
    if order:
        raise DataError(f"{path} lacks {', '.join(order)}: it is not CIFAR-10's binary version; {_REMEDY}.")


def _tar_members(stream: _Bounded) -> Iterator[tuple[str, int]]:
    """Yield name and size of each regular file of a tar archive; who asks takes or skips its data, to a whole block.

    Nothing but the blocks of the format of 1988 is understood: no links, no extended headers, which name other files,
    other sizes, and take other parsers. They are passed over.
    """
    while any(block := stream.take(_BLOCK)):
        if len(block) < _BLOCK:
            break
        given, size = (int(block[i:j].strip(b" \0") or b"0", 8) for i, j in ((148, 156), (124, 136)))
        if given != sum(block) - sum(block[148:156]) + 8 * ord(" ") or size < 0:
            raise ValueError("a header of the archive does not have its checksum")
        if block[156:157] in (b"0", b"\0"):
            yield PurePosixPath(block[:100].split(b"\0")[0].decode("latin-1")).name, size
        else:
            stream.skip(size)
    if len(block) < _BLOCK:
        raise EOFError("it ends without an end mark")


def _take_records(content: bytes, out: np.ndarray, name: str) -> None:
    if len(content) != CIFAR10_MEMBER_BYTES:
        raise DataError(
            f"{name} is truncated: expected {CIFAR10_MEMBER_BYTES:,} bytes, got {len(content):,}; {_REMEDY}."
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(_RECORDS, _RECORD_BYTES)
    strange = np.flatnonzero(records[:, 0] > 9)
    if len(strange):
        raise DataError(
            f"{name} is not CIFAR-10's binary version: expected labels 0 to 9, record {strange[0]} has "
            f"{records[strange[0], 0]}; {_REMEDY}."
        )
    out[...] = records[:, 1:].reshape(_RECORDS, 3, 32, 32)


class _Bounded:
    """A stream that ends with an error where the official archive would have ended: no archive unpacks without end."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = _MAX_ARCHIVE_BYTES

    def take(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        self._left -= size
        if self._left < 0:
            raise OSError(f"it unpacks to more than {_MAX_ARCHIVE_BYTES:,} bytes")
        return self._stream.read(size)

    def skip(self, size: int) -> None:
        """Pass over the next bytes, to the end of a block."""
        left = size + -size % _BLOCK
        while left > 0:
            left -= len(self.take(min(_BLOCK << 11, left)) or bytes(left))
