"""IDX files, the format of MNIST and Fashion-MNIST: big-endian lengths, then unsigned bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from gancli.data.dataset import Dataset
from gancli.data.sources import find_file, missing_files
from gancli.data.untrusted import MAX_DEFLATE_RATIO, MAX_UNPACKED_BYTES, open_file
from gancli.errors import DataError

Kind = Literal["images", "labels"]

# Third byte 8: unsigned bytes. Fourth byte: the number of dimensions.
_MAGIC: dict[Kind, int] = {"images": 0x00000803, "labels": 0x00000801}
_CHUNK = 1 << 20


def read_idx(path: str | Path, *, kind: Kind, remedy: str = "get the file again") -> Tensor:
    """Read one IDX file of unsigned bytes, plain or gzip-compressed.

    Every length in the header is held against the file before memory is taken, and a compressed file is unpacked no
    further than its own header says.

    Args:
        path: the file; gzip is recognised by its first two bytes, whatever the name.
        kind: "images" for three dimensions, "labels" for one.
        remedy: what to do about a damaged file, for the error's last words.

    Returns:
        uint8, (n, height, width) for images or (n,) for labels.

    Raises:
        DataError: the file is missing, truncated, longer than it says, or of another kind.
    """
    path = Path(path)
    with open_file(path) as (file, size):
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _read_stream(file, size, path, kind, remedy, compressed=False)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_stream(stream, size, path, kind, remedy, compressed=True)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is a damaged gzip file ({error}); {remedy}.") from error


def _read_stream(
    stream: BinaryIO | gzip.GzipFile, size: int, path: Path, kind: Kind, remedy: str, *, compressed: bool
) -> Tensor:
    """Read header and data; `size` is that of the file on disk."""
    num_dims = _MAGIC[kind] & 0xFF
    header_bytes = 4 + 4 * num_dims
    header = stream.read(header_bytes)
    if len(header) >= 4 and struct.unpack(">I", header[:4])[0] != _MAGIC[kind]:
        raise DataError(
            f"{path} is not an IDX file of {kind}: expected it to begin with {_MAGIC[kind]:08x}, "
            f"got {header[:4].hex()}; {remedy}."
        )
    if len(header) < header_bytes:
        raise DataError(f"{path} is truncated: expected a header of {header_bytes} bytes, got {len(header)}; {remedy}.")
    dims = struct.unpack(f">{num_dims}I", header[4:])
    count = math.prod(dims)
    shape = " × ".join(f"{dim:,}" for dim in dims)
    promised = f"its header promises {shape} = {count:,} bytes of data"
    if count == 0:
        raise DataError(f"{path} is empty: {promised}; {remedy}.")
    if not compressed:
        _check_length(path, promised, count, size - header_bytes, remedy)
    elif count > MAX_UNPACKED_BYTES:
        raise DataError(
            f"{path} is refused: {promised}, more than the {MAX_UNPACKED_BYTES:,} that a compressed file may unpack "
            f"to; if it is meant, unpack it with gunzip first."
        )
    elif count > size * MAX_DEFLATE_RATIO:
        raise DataError(f"{path} is truncated: {promised}, more than its {size:,} compressed bytes can hold; {remedy}.")
    # The buffer grows with what really arrives: a header that lies within the limits costs nothing either.
    data = bytearray()
    while len(data) <= count and (chunk := stream.read(min(_CHUNK, count + 1 - len(data)))):
        data += chunk
    _check_length(path, promised, count, len(data), remedy)
    return torch.frombuffer(data, dtype=torch.uint8).reshape(dims)


def _check_length(path: Path, promised: str, expected: int, got: int, remedy: str) -> None:
    if got < expected:
        raise DataError(f"{path} is truncated: {promised}, got {got:,}; {remedy}.")
    if got > expected:
        raise DataError(f"{path} has bytes after its end: {promised}, and the file goes on; {remedy}.")


def load_mnist(folder: str | Path) -> Dataset:
    """MNIST as the paper splits it: the first 50,000 training images, the last 10,000 of them, the test images.

    Args:
        folder: the data folder that holds `mnist/`, or the folder of the files themselves.

    Returns:
        28×28 grey images, uint8; 50,000 + 10,000 + 10,000.

    Raises:
        DataError: a file is missing or damaged.
    """
    return _load("mnist", Path(folder))


def load_fashion_mnist(folder: str | Path) -> Dataset:
    """Fashion-MNIST, in the same format, sizes and splits as MNIST.

    Args:
        folder: the data folder that holds `fashion-mnist/`, or the folder of the files themselves.

    Returns:
        28×28 grey images, uint8; 50,000 + 10,000 + 10,000.

    Raises:
        DataError: a file is missing or damaged.
    """
    return _load("fashion-mnist", Path(folder))


def _load(name: str, folder: Path) -> Dataset:
    images = []
    for stem, count in (("train-images-idx3-ubyte", 60_000), ("t10k-images-idx3-ubyte", 10_000)):
        path = find_file(name, stem, folder)
        if path is None:
            raise missing_files(name, [f"{stem}[.gz]"], folder)
        remedy = f"get it again with `gancli data download {name}`"
        split = read_idx(path, kind="images", remedy=remedy)
        if split.shape != (count, 28, 28):
            got = " × ".join(f"{n:,}" for n in split.shape)
            raise DataError(f"{path} is not {name}'s: expected {count:,} × 28 × 28, got {got}; {remedy}.")
        images.append(split.unsqueeze(1))
    train, test = images
    return Dataset(name=name, train=train[:50_000], valid=train[50_000:], test=test)
