"""NumPy's .npy and .npz files from anywhere: never unpickled, and never larger in memory than on disk promised."""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from gancli.data.untrusted import MAX_UNPACKED_BYTES, open_file
from gancli.errors import DataError

_CHUNK = 1 << 20
# A header is a hundred bytes or so; NumPy itself allows this many before it asks whether the file is trusted.
_MAX_HEADER = 10_000


def read_npy(path: Path) -> Tensor:
    """Read one .npy file.

    Returns:
        uint8, or float32 whatever the precision of the floats in the file; any shape.

    Raises:
        DataError: not an .npy file, truncated, longer than its header says, or of another type.
    """
    with open_file(path) as (file, size):
        return _read_array(file, size, str(path))


def npz_names(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz file; none where it is no such file, which `read_npz` will say."""
    with open_file(path) as (file, _):
        try:
            with zipfile.ZipFile(file) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return []


def read_npz(path: Path, keys: tuple[str, ...]) -> Tensor:
    """Read one array of an .npz file: the only one there is, or the one that goes by one of `keys`.

    Returns:
        uint8 or float32, any shape.

    Raises:
        DataError: not an .npz file, damaged, too large unpacked, or it is not clear which array is meant.
    """
    with open_file(path) as (file, size):
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                chosen = [key for key in keys if key in members] or list(members)
                if not members:
                    raise DataError(f"{path} holds no arrays; save one with numpy.savez(path, {keys[0]}=array).")
                if len(chosen) > 1 and chosen[0] not in keys:
                    names = ", ".join(repr(name) for name in list(members)[:5])
                    raise DataError(
                        f"{path} holds {len(members)} arrays ({names}), none of them named "
                        f"{' or '.join(repr(key) for key in keys)}; rename the one that is meant."
                    )
                info = members[chosen[0]]
                limit = size if info.compress_type == zipfile.ZIP_STORED else MAX_UNPACKED_BYTES
                if info.file_size > limit:
                    raise DataError(
                        f"{path} is refused: its array {chosen[0]!r} would unpack to {info.file_size:,} bytes, "
                        f"expected at most {limit:,}; save it uncompressed, as .npy."
                    )
                with archive.open(info) as member:
                    return _read_array(member, info.file_size, f"{path} ({chosen[0]})")
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            # RuntimeError: encrypted members; NotImplementedError: compression methods that Python does not have.
            raise DataError(f"{path} is not a whole .npz file ({error}); save it again with numpy.savez.") from error
        except (ValueError, UnicodeError, OverflowError) as error:
            raise DataError(f"{path} is not a whole .npz file ({error}); save it again with numpy.savez.") from error


def _read_array(file: IO[bytes], size: int, name: str) -> Tensor:
    """Read header and data from a stream of `size` bytes; `name` is for errors."""
    shape, fortran_order, dtype, header_bytes = _read_header(file, name)
    if not (dtype == np.uint8 or dtype.kind == "f"):
        raise DataError(
            f"{name} holds values of type {dtype}, expected uint8 (0..255) or floats; convert it with astype."
        )
    expected = math.prod(shape) * dtype.itemsize
    got = size - header_bytes
    if expected != got:
        trouble = "is truncated" if got < expected else "has bytes after its end"
        raise DataError(
            f"{name} {trouble}: its header promises {expected:,} bytes of data, got {got:,}; save it again."
        )
    data = bytearray()
    while len(data) < expected and (chunk := file.read(min(_CHUNK, expected - len(data)))):
        data += chunk
    if len(data) != expected:
        raise DataError(f"{name} is truncated: expected {expected:,} bytes of data, got {len(data):,}; save it again.")
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # doubles beyond float32 become infinite, and are named as such by the caller
            array = np.ascontiguousarray(array, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(shape)


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether in Fortran order, dtype, bytes the header takes)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = npy_format.read_magic(file)
            if version == (1, 0):
                read_header = npy_format.read_array_header_1_0
            elif version in ((2, 0), (3, 0)):
                # 3.0 differs from 2.0 only in allowing names outside Latin-1 in structured types, which are refused.
                read_header = npy_format.read_array_header_2_0
            else:
                raise ValueError(f"format version {version[0]}.{version[1]}")
            counting = _Counting(file)
            shape, fortran_order, dtype = read_header(counting, max_header_size=_MAX_HEADER)
    except (DataError, zipfile.BadZipFile, zlib.error, OSError):
        raise
    except Exception as error:
        # The header is a Python literal: ast raises anything from SyntaxError to RecursionError on a hostile one.
        reason = str(error).split("\n", 1)[0][:100]
        raise DataError(f"{name} is not an .npy file ({reason}); save it again with numpy.save.") from error
    if dtype.hasobject or dtype.subdtype is not None or any(n < 0 or isinstance(n, bool) for n in shape):
        raise DataError(f"{name} holds no plain array of numbers; save uint8 or float values with numpy.save.")
    return shape, fortran_order, dtype, npy_format.MAGIC_LEN + counting.bytes_read


class _Counting:
    """A file that counts what has been read of it; a member of a zip file cannot always tell its position."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes_read += len(data)
        return data


def first_bad_row(values: Tensor) -> int | None:
    """The index of the first row with NaN or infinity in it, or None.

    Args:
        values: (n, ...); uint8 has no such values.
    """
    if not values.is_floating_point():
        return None
    # In blocks, so that the mask is never as large as the values.
    for start in range(0, len(values), 1024):
        good = torch.isfinite(values[start : start + 1024].flatten(1)).all(dim=1)
        if not good.all():
            return start + int(good.logical_not().nonzero()[0])
    return None


def check_finite(values: Tensor, name: str) -> None:
    """Raise DataError, naming the first bad row, if there is NaN or infinity in `values` (n, ...)."""
    row = first_bad_row(values)
    if row is not None:
        raise DataError(
            f"{name} has NaN or infinite values, first in row {row}; remove such rows or mend what made them."
        )


def as_images(values: Tensor, name: str, shape: tuple[int, int, int] | None = None) -> Tensor:
    """Bring an array to (n, channels, height, width).

    With `shape` given, accepts what can be that shape and nothing else: (n, c, h, w), (n, h, w, c), (n, h, w) for
    one channel, and rows of c·h·w values. Without it: four dimensions with 1 or 3 channels second, or else last;
    (n, h, w) is one channel; and rows of d values become (n, 1, 1, d).

    Args:
        values: (n, ...), any dtype.
        name: of the file, for errors.
        shape: (channels, height, width) that is expected.

    Returns:
        (n, channels, height, width), contiguous, the same dtype.

    Raises:
        DataError: no examples, or no way to read the array as such images.
    """
    got = " × ".join(f"{n:,}" for n in values.shape) or "a single number"
    if values.numel() == 0 or values.ndim == 0:
        raise DataError(f"{name} holds no examples: expected at least one, got an array of {got}; check what wrote it.")
    n, *rest = values.shape
    if shape is not None:
        channels, height, width = shape
        if rest == [channels, height, width]:
            return values.contiguous()
        if rest == [height, width, channels]:
            return values.permute(0, 3, 1, 2).contiguous()
        size = channels * height * width
        if (rest == [height, width] and channels == 1) or rest == [size] or (rest == [] and size == 1):
            return values.reshape(n, channels, height, width)
        expected = f"n × {channels} × {height} × {width} or n × {size:,}"
        raise DataError(f"{name} has the wrong shape: expected {expected}, got {got}; check that it fits the data set.")
    if len(rest) == 3 and rest[0] in (1, 3):
        return values.contiguous()
    if len(rest) == 3 and rest[2] in (1, 3):
        return values.permute(0, 3, 1, 2).contiguous()
    if len(rest) == 2:
        return values.reshape(n, 1, *rest)
    if len(rest) == 1:
        return values.reshape(n, 1, 1, rest[0])
    raise DataError(
        f"{name} has a shape that is not one of images: expected n × c × h × w or n × h × w × c with c = 1 or 3, "
        f"n × h × w, or n × d, got {got}; reshape it."
    )
