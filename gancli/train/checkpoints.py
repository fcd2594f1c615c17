"""Checkpoints: everything that decides how a run goes on, and nothing that runs code when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gancli import __version__
from gancli.data.torchfile import read_torch_file, write_torch_file
from gancli.errors import DataError

FORMAT = 1
_KEYS = {"format", "version", "config", "shape", "preprocessing", "step", "G", "D"}


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    write_torch_file(path, {"format": FORMAT, "version": __version__, **content})


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
    if not isinstance(content["format"], int) or content["format"] > FORMAT:
        raise DataError(f"{path} has format {content['format']}, this gancli reads up to {FORMAT}; update gancli.")
    return content
