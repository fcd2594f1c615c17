"""Checkpoints: everything that decides how a run goes on, and nothing that runs code when it is read.

A checkpoint is a dictionary of tensors and plain values. Both kinds hold "format", "version" (of gancli), "sha256" (of
all else), "config", "shape" (of an image), "preprocessing", "step" (iterations done), "G" and "D" (weights), and with
--average also "average" (the running mean of G's weights). What a run resumes from holds besides:

    epoch, position     whole epochs done; minibatches drawn, from which follows the place in the data order
    examples            how many training examples there were
    examples_crc32      of their bytes
    lr, momentum        where the schedules stand
    average_since       the iteration at which averaging began; 0 where it is not there
    update_G, update_D  the state of the gradient rules
    rng                 the state of each rank's stream of noise and dropout, a row for each; all other streams are
                        drawn anew from the seed
    monitor             running means of the epoch in progress
    best                highest validation log-likelihood so far
    largest_variance    of G's samples at an epoch's end so far, as a share of the data's
    seconds             of iterations since the run began
    row                 the row of metrics.jsonl that belongs to it

Format 1, of version 0.1, had no checksum, epoch, position, examples, lr, momentum, seconds and
largest_variance; it is read as well, and so is one of format 2 without examples_crc32 and average_since.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gancli import __version__
from gancli.data.dataset import Dataset
from gancli.data.torchfile import CHECKSUM, read_torch_file, write_torch_file
from gancli.errors import DataError, GancliWarning

FORMAT = 2
_KEYS = {"format", "version", "config", "shape", "preprocessing", "step", "G", "D"}


def save_checkpoint(path: Path, content: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write tensors and plain values, whole or not at all.

    Args:
        path: the file.
        content: all entries but format, version and checksum.
        previous: the name under which the checkpoint that was there is kept.

    Raises:
        GancliError: the folder cannot be written to, or the disk is full.
    """
    write_torch_file(path, {"format": FORMAT, "version": __version__, **content}, previous=previous)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU; only tensors and plain values are ever built from it.

    Raises:
        DataError: missing, damaged, of a newer format, or no checkpoint of gancli.
    """
    if not path.exists():
        raise DataError(f"There is no checkpoint {path}; the run stopped before it wrote one.")
    content = read_torch_file(path, what="a checkpoint of gancli")
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise DataError(f"{path} is not a checkpoint of gancli; expected the keys {', '.join(sorted(_KEYS))}.")
    number = content["format"]
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= FORMAT:
        raise DataError(f"{path} has format {number!r:.20}, this gancli reads 1 to {FORMAT}; update gancli.")
    if number > 1 and CHECKSUM not in content:
        raise DataError(f"{path} is damaged: it has no checksum.")
    _check_entries(content, path)
    return content


def load_newest(last: Path, previous: Path) -> tuple[dict[str, Any], Path]:
    """Read the last checkpoint, or where that is damaged or missing the one before it, with a warning.

    Returns:
        The content, and the file that it is from.

    Raises:
        DataError: neither can be read; the sentence is the last one's.
    """
    try:
        return load_checkpoint(last), last
    except DataError as error:
        try:
            content = load_checkpoint(previous)
        except DataError:
            raise error from None
        warnings.warn(
            f"{error} Going on from the one before it, {previous}, of iteration {content['step']:,}.",
            GancliWarning,
            stacklevel=2,
        )
        return content, previous


def _check_entries(content: dict[str, Any], path: Path) -> None:
    """Raise DataError unless the entries that every reader uses have their types."""
    shape = content["shape"]
    good = (
        isinstance(content["step"], int)
        and content["step"] >= 0
        and isinstance(shape, (list, tuple))
        and len(shape) == 3
        and all(isinstance(n, int) and n > 0 for n in shape)
        and all(isinstance(content[key], dict) for key in ("config", "preprocessing", "G", "D"))
        and all(isinstance(key, str) for key in content["config"])
    )
    if not good:
        raise DataError(f"{path} is damaged: its entries are not those of a checkpoint.")


def require_same_data(content: Mapping[str, Any], path: Path, name: str, dataset: Dataset, crc32: int) -> None:
    """Raise DataError unless a checkpoint was trained on as many images of this shape; warn where they were others.

    Other examples of the same number are no error: another version of a library may decode or draw them a bit
    differently.

    Args:
        content: of the checkpoint.
        path: where it lies.
        name: the data set's, as the configuration has it.
        dataset: what lies there now.
        crc32: of its training examples.
    """
    if tuple(content["shape"]) != dataset.shape:
        raise DataError(f"{path} was trained on images of {tuple(content['shape'])}, {name} has {dataset.shape}.")
    examples = content.get("examples", len(dataset.train))
    if examples != len(dataset.train):
        raise DataError(
            f"{path} was trained on {examples!r:.20} examples, {name} has {len(dataset.train):,} now; bring the data "
            "back, or start a new run."
        )
    if content.get("examples_crc32", crc32) != crc32:
        warnings.warn(
            f"{path} was trained on other examples than {name} has now, though as many: the run goes on with these, "
            "not to the bits of an unbroken one. Bring the data back if that is not meant.",
            GancliWarning,
            stacklevel=2,
        )
