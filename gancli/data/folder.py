"""A user's own data: a folder of images, or an .npy or .npz file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from gancli.data.arrays import as_images, check_finite, npz_names, read_npy, read_npz
from gancli.data.dataset import Dataset
from gancli.data.untrusted import open_file
from gancli.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
# The formats that go with them: Pillow knows dozens more, and the fewer parsers a stranger's file reaches the better.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_SPLIT = ("train", "valid", "test")  # what an .npz that holds a split calls its arrays
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
# What brings a photo upright, by the orientation that EXIF has for it.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
# A picture says in a few bytes how large it will be. These hold one below what Pillow allows (179 megapixels) and all
# of them below what a machine has; 50,000 images of 128 × 128 in colour take 2.5 GB.
_MAX_PIXELS = 1 << 24
_MAX_TOTAL_BYTES = 8 << 30


def load_folder(path: str | Path) -> Dataset:
    """Read a folder of images or an array file, and splits it 80 : 10 : 10.

    The split shuffles by a fixed seed, so that it is the same each time the same files are read, whatever `--seed` is;
    valid and test get a tenth each, at least one example. An .npz may hold a split of its own instead, as `train`,
    `valid` and `test`.

    Args:
        path: a folder (images of one size, all grey or all colour, taken in the order of their names), an .npy file,
            or an .npz with one array, one named `images`, or the three of a split. Arrays are uint8 or floats; see
            `as_images` for shapes.

    Returns:
        uint8 or float32 (n, channels, height, width); the data set's name is the absolute path, so that a run finds
        it again from anywhere.

    Raises:
        DataError: nothing there, mixed sizes or kinds, NaN, or fewer than three examples.
    """
    path = Path(path)
    if os.path.isdir(path):
        images = read_images(path)
    elif path.suffix == ".npy":
        images = as_images(read_npy(path), str(path))
    elif path.suffix == ".npz":
        if set(npz_names(path)) >= set(_SPLIT):
            return _split_in_file(path)
        images = as_images(read_npz(path, ("images", "samples")), str(path))
    elif os.path.exists(path):
        raise DataError(f"{path} cannot be read as data: expected a folder of images, or an .npy or .npz file.")
    else:
        raise DataError(f"{path} does not exist; check the path of the folder or file.")
    check_finite(images, str(path))
    n = len(images)
    if n < 3:
        raise DataError(f"{path} holds {n} examples: expected at least 3, one each to train, to validate and to test.")
    held_out = max(1, n // 10)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return Dataset(
        name=str(path.resolve()),
        train=images[order[: n - 2 * held_out]],
        valid=images[order[n - 2 * held_out : n - held_out]],
        test=images[order[n - held_out :]],
    )


def _split_in_file(path: Path) -> Dataset:
    """Read a data set that its owner has split."""
    train, valid, test = (as_images(read_npz(path, (key,)), f"{path} ({key})") for key in _SPLIT)
    for key, images in (("train", train), ("valid", valid), ("test", test)):
        if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
            raise DataError(
                f"{path} holds splits that differ: train has images of {tuple(train.shape[1:])} {train.dtype}, {key} "
                f"of {tuple(images.shape[1:])} {images.dtype}; bring them to one shape and type."
            )
        check_finite(images, f"{path} ({key})")
    return Dataset(name=str(path.resolve()), train=train, valid=valid, test=test)


def read_images(folder: Path) -> Tensor:
    """Read the images that lie in a folder (not in folders below it), in the order of their names.

    Returns:
        uint8 (n, channels, height, width), one channel if they are grey and three if they are in colour.

    Raises:
        DataError: no images, one that cannot be read, or two that differ in size or kind.
    """
    try:
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    if not paths:
        below = (
            " (there are folders in it: name one of them)" if any(os.path.isdir(p) for p in folder.iterdir()) else ""
        )
        raise DataError(
            f"{folder} holds no images{below}: expected files ending in {', '.join(ENDINGS[:5])} and so on."
        )
    mode, size = _look(paths[0])
    channels = len(mode) if mode == "RGB" else 1
    total = len(paths) * channels * size[0] * size[1]
    if total > _MAX_TOTAL_BYTES:
        raise DataError(
            f"{folder} is too large to hold in memory: {len(paths):,} images of {size[0]} × {size[1]} take {total:,} "
            f"bytes, expected at most {_MAX_TOTAL_BYTES:,}; make the images smaller."
        )
    images = np.empty((len(paths), size[1], size[0], channels), dtype=np.uint8)
    for index, path in enumerate(paths):
        if _look(path) != (mode, size):
            other_mode, other_size = _look(path)
            raise DataError(
                f"{folder} holds images that differ: {paths[0].name} is {size[0]} × {size[1]} {mode}, {path.name} is "
                f"{other_size[0]} × {other_size[1]} {other_mode}; bring them to one size and kind."
            )
        images[index] = _decode(path, mode).reshape(size[1], size[0], channels)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _look(path: Path) -> tuple[str, tuple[int, int]]:
    """(the mode it will be read in, (width, height)), from the file's header."""
    with _open(path) as image:
        if image.mode not in _MODES:
            raise DataError(f"{path} has mode {image.mode}: expected grey (L) or colour (RGB); convert it.")
        if "transparency" in image.info:
            raise DataError(f"{path} has transparent pixels, of which the colour is not known; save it without them.")
        if getattr(image, "is_animated", False):
            raise DataError(f"{path} holds several pictures, expected one; save each as a file.")
        width, height = image.size
        if width * height > _MAX_PIXELS:
            raise DataError(
                f"{path} is refused: it unpacks to {width:,} × {height:,} pixels, expected at most {_MAX_PIXELS:,}; "
                f"make it smaller."
            )
        return _MODES[image.mode], (height, width) if _orientation(image) in _SIDEWAYS else image.size


def _orientation(image: Image.Image) -> int:
    """Return how a photo's camera was held, EXIF's number; 1, upright, where none is told. Pillow turns TIFF itself."""
    if image.format == "TIFF" or "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged, as EXIF often is: Pillow raises anything, and the photo is taken as it lies
        return 1


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    with open_file(path) as (file, _):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow only warns of images between one and two times its limit
                image = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise DataError(f"{path} is not an image that can be read; remove it or save it as PNG.") from error
        except Exception as error:
            # Pillow's parsers raise anything on damaged files: struct.error, SyntaxError, ValueError, its bomb error.
            raise DataError(
                f"{path} cannot be read as an image ({_reason(error)}); remove it or save it as PNG."
            ) from error
        with image:
            yield image


def _decode(path: Path, mode: str) -> np.ndarray:
    with _open(path) as image:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                turn = _TURNS.get(_orientation(image))
                upright = image if turn is None else image.transpose(turn)
                return np.asarray(upright.convert(mode))
        except Exception as error:
            raise DataError(f"{path} is a damaged image ({_reason(error)}); remove it or make it again.") from error


def _reason(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120] or type(error).__name__
