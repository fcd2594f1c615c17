"""The Toronto Face Database: one MATLAB file with the images and five folds."""

from __future__ import annotations

import math
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from gancli.data.dataset import Dataset, Fold
from gancli.data.sources import find_file, missing_files
from gancli.data.untrusted import MAX_UNPACKED_BYTES, open_file
from gancli.errors import DataError, UsageError

_FILE = "TFD_48x48.mat"
_REMEDY = "get the file again from the database's authors"
_UNLABELED, _VALID, _TEST = 0, 2, 3  # 1 is the labelled training images, which nothing here uses
_MI_COMPRESSED = 15
_NUMBERS = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_CHUNK = 1 << 20


def load_tfd(folder: str | Path, fold: int = 0) -> Dataset:
    """TFD as the paper's configurations use it: trained on the unlabelled images, σ and the figure from a fold.

    `images` is N × 48 × 48 in MATLAB's own indexing, which SciPy keeps: the first index is the example, the second the
    row, the third the column, as Pylearn2 read it. A fold is a column of `folds`.

    Args:
        folder: the data folder that holds `tfd/`, or the folder of the file itself.
        fold: 0 to 4; whose unlabelled, validation and test images become train, valid and test.

    Returns:
        48×48 grey images, uint8 (n, 1, 48, 48), with all five folds' validation and test images in `folds`.

    Raises:
        DataError: the file is missing, damaged or laid out otherwise, or SciPy is not installed.
        UsageError: no such fold.
    """
    if not 0 <= fold < 5:
        raise UsageError(f"tfd has no fold {fold}: expected 0 to 4.")
    path = find_file("tfd", _FILE, Path(folder))
    if path is None:
        raise missing_files("tfd", [_FILE], Path(folder))
    images, folds = _read(path)
    splits = tuple(
        Fold(
            valid=_select(images, folds[:, column], _VALID, path, column),
            test=_select(images, folds[:, column], _TEST, path, column),
        )
        for column in range(5)
    )
    train = _select(images, folds[:, fold], _UNLABELED, path, fold)
    return Dataset(name="tfd", train=train, valid=splits[fold].valid, test=splits[fold].test, folds=splits)


def _select(images: np.ndarray, membership: np.ndarray, which: int, path: Path, fold: int) -> Tensor:
    """The images of one part of one fold, (n, 1, 48, 48); piece by piece, as MATLAB's order makes a whole copy dear."""
    rows = np.flatnonzero(membership == which)
    if len(rows) == 0:
        raise DataError(f"{path} is not TFD: fold {fold} has no images marked {which}; {_REMEDY}.")
    out = np.empty((len(rows), 1, 48, 48), dtype=np.uint8)
    for start in range(0, len(rows), 4096):
        out[start : start + 4096, 0] = images[rows[start : start + 4096]]
    return torch.from_numpy(out)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`images` (N, 48, 48) uint8 and `folds` (N, 5) with values 0 to 3."""
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise DataError("Reading TFD's .mat file needs SciPy: run pip install 'gancli[tfd]'.") from error
    with open_file(path) as (file, size):
        try:
            _check_size(file, size)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SciPy's own about odd files; what matters is checked here
                found: list[tuple[str, tuple[int, ...], str]] = whosmat(file)
                _check_kinds(found, path)
                _check_shapes({name: shape for name, shape, _ in found}, path)
                file.seek(0)
                variables: dict[str, Any] = loadmat(file, variable_names=("images", "folds"))
        except DataError:
            raise
        except NotImplementedError as error:
            raise DataError(
                f"{path} is in MATLAB's format 7.3, which is not read; save it in MATLAB with save('{_FILE}', "
                f"'images', 'folds', '-v7')."
            ) from error
        except Exception as error:
            # SciPy's reader raises whatever it trips over in a damaged file.
            reason = str(error).split("\n", 1)[0][:120] or type(error).__name__
            raise DataError(f"{path} is not a whole MATLAB file ({reason}); {_REMEDY}.") from error
    images, folds = np.asarray(variables["images"]), np.asarray(variables["folds"])
    _check_shapes({"images": images.shape, "folds": folds.shape}, path)
    if images.dtype != np.uint8:
        raise DataError(f"{path} is not TFD: expected images of type uint8, got {images.dtype}; {_REMEDY}.")
    if folds.dtype.kind not in "uif" or not np.isin(folds, (0, 1, 2, 3)).all():
        raise DataError(f"{path} is not TFD: expected the values 0 to 3 in 'folds', got others; {_REMEDY}.")
    return images, folds


def _check_kinds(found: list[tuple[str, tuple[int, ...], str]], path: Path) -> None:
    """Refuse what SciPy would build something else from than one array of numbers of the promised size."""
    for name, kinds in (("images", ("uint8",)), ("folds", _NUMBERS)):
        got = [kind for each, _, kind in found if each == name]
        if any(kind not in kinds for kind in got) or len(got) > 1:
            raise DataError(
                f"{path} is not TFD: expected one variable {name} of type {kinds[0]}, got {', '.join(got)}; {_REMEDY}."
            )


def _check_shapes(shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    images, folds = shapes.get("images"), shapes.get("folds")
    if images is None or folds is None:
        raise DataError(
            f"{path} is not TFD: expected the variables images and folds, got {', '.join(sorted(shapes)) or 'none'}; "
            f"{_REMEDY}."
        )
    if len(images) != 3 or images[1:] != (48, 48) or folds != (images[0], 5):
        raise DataError(
            f"{path} is not TFD: expected images N × 48 × 48 and folds N × 5, got {_by(images)} and "
            f"{_by(folds)}; {_REMEDY}."
        )
    if math.prod(images) > MAX_UNPACKED_BYTES:
        raise DataError(f"{path} is refused: {_by(images)} images are more than {MAX_UNPACKED_BYTES:,} bytes.")


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _check_size(file: BinaryIO, size: int) -> None:
    """Unpack the compressed elements of a v5 file to nowhere, to see that they end; SciPy would take the memory."""
    file.seek(124)
    version = file.read(4)  # two bytes, and the mark by which a reader knows their order
    if version in (b"\x00\x02IM", b"\x02\x00MI"):
        raise NotImplementedError("MATLAB 7.3")
    order: Literal["little", "big"] = "little" if version.endswith(b"IM") else "big"
    position, total = 128, 0
    while position + 8 <= size:
        file.seek(position)
        tag = file.read(8)
        kind, length = (int.from_bytes(tag[i : i + 4], order) for i in (0, 4))
        if length > size - position - 8:
            raise ValueError(f"an element promises {length:,} bytes, the file has {size - position - 8:,} left")
        if kind == _MI_COMPRESSED:
            unpacker, left = zlib.decompressobj(), length
            while left and not unpacker.eof:
                data = file.read(min(_CHUNK, left))
                left -= len(data)
                while data and not unpacker.eof:
                    total += len(unpacker.decompress(data, _CHUNK))
                    data = unpacker.unconsumed_tail
                    if total > MAX_UNPACKED_BYTES:
                        raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        position += 8 + length
