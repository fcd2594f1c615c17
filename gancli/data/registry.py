"""Data sets by name. Importing this loads no torch; asking for a data set does."""

from __future__ import annotations

import difflib
import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gancli.data.sources import SOURCES, Source, SourceFile
from gancli.errors import UsageError

if TYPE_CHECKING:
    from gancli.data.checksums import FileStatus
    from gancli.data.dataset import Dataset

__all__ = ["SOURCES", "Source", "SourceFile", "is_path", "load", "resolve_data_dir", "short_name", "verify"]

DATA_DIR_VARIABLE = "GANCLI_DATA"


def resolve_data_dir(data_dir: str | Path | None = None) -> Path:
    """Where data sets lie: the argument, else $GANCLI_DATA, else ./data if there is one, else ~/.cache/gancli."""
    if data_dir is not None:
        return Path(os.path.expanduser(data_dir))
    if from_environment := os.environ.get(DATA_DIR_VARIABLE):
        return Path(os.path.expanduser(from_environment))
    here = Path("data")
    return here if os.path.isdir(here) else Path(os.path.expanduser("~")) / ".cache" / "gancli"


def is_path(name: str) -> bool:
    """Whether a data set's name means the user's own folder or array file.

    Registered names come first, so that a folder called mnist changes nothing; `./mnist` means the folder.
    """
    if name in SOURCES:
        return False
    separators = {os.sep, os.altsep or os.sep, "/"}
    if any(separator in name for separator in separators) or name.endswith((".npy", ".npz")):
        return True
    return bool(name) and os.path.exists(name)


def short_name(name: str) -> str:
    """A data set's name as part of a file name: itself, or for a path its last part without odd characters."""
    if name in SOURCES:
        return name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name).stem).strip("-.") or "data"


def get_source(name: str) -> Source:
    """The data set of that name.

    Raises:
        UsageError: there is none; the sentence has the nearest name.
    """
    if name in SOURCES:
        return SOURCES[name]
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), SOURCES, n=1, cutoff=0.5)
    guess = f"did you mean {nearest[0]}? Known" if nearest else "known"
    raise UsageError(
        f"Unknown data set {name[:100]!r}: {guess} are {', '.join(SOURCES)}, or the path of a folder of images or of "
        f"an .npy or .npz file."
    )


def require_known(name: str) -> None:
    """Raise UsageError unless a data set's name is registered, or is the path of something that exists."""
    if not is_path(name):
        get_source(name)
    elif not os.path.exists(os.path.expanduser(name)):
        raise UsageError(f"{name} does not exist; check the path.")


def load(name: str, data_dir: str | Path | None = None, *, seed: int = 0, fold: int = 0) -> Dataset:
    """Load a data set; never downloads.

    Args:
        name: a name of SOURCES, or the path of a folder of images or of an .npy or .npz file.
        data_dir: where data sets lie; see `resolve_data_dir`. Paths of the user's own do not use it.
        seed: of the data that are drawn (digits, gaussian); a set that is read does not depend on it.
        fold: which of TFD's five folds; 0 for all others.

    Returns:
        Raw images in the paper's splits.

    Raises:
        UsageError: an unknown name, or a fold that the data set does not have.
        DataError: files are missing or damaged.
    """
    if is_path(name):
        num_folds, target = 1, "gancli.data.folder:load_folder"
        arguments: dict[str, Any] = {"path": Path(os.path.expanduser(name))}
    else:
        source = get_source(name)
        num_folds, target = source.folds, source.loader
        values = {"folder": resolve_data_dir(data_dir), "seed": seed, "fold": fold}
        arguments = {key: values[key] for key in source.arguments}
    if not 0 <= fold < num_folds:
        raise UsageError(f"{name} has no fold {fold}: expected 0 to {num_folds - 1}; only tfd has more than one fold.")
    module, function = target.split(":")
    return cast("Dataset", getattr(import_module(module), function)(**arguments))


def verify(name: str, data_dir: str | Path | None = None) -> list[FileStatus]:
    """Check the files of a data set against their published SHA-256.

    Args:
        name: a name of SOURCES.
        data_dir: where data sets lie; see `resolve_data_dir`.

    Returns:
        One status for each file; an empty list for a set that the package draws itself.

    Raises:
        UsageError: an unknown name.
    """
    from gancli.data.checksums import verify_files

    get_source(name)
    return verify_files(name, resolve_data_dir(data_dir))
