"""The data of a target, checked before hours are spent on them."""

from __future__ import annotations

from collections.abc import Sequence

from gancli.data.dataset import Dataset
from gancli.data.registry import is_path, load, verify
from gancli.errors import DataError
from gancli.reproduce.targets import Target


def load_checked(target: Target, data_dir: str | None) -> tuple[Dataset, list[str]]:
    """Load a target's data set after checking its files against the published SHA-256.

    Args:
        target: names the data set, and whether other files than the published ones will do.
        data_dir: where data sets lie.

    Returns:
        The data set, and sentences on what a reader of the figures should know about the files.

    Raises:
        DataError: files are missing or damaged, or are not the published ones and the target insists.
    """
    differing = [] if is_path(target.dataset) else _differing(target, data_dir)
    if differing and target.published_files:
        raise DataError(
            f"{', '.join(differing)}: not the published {target.dataset}, so that no figure made from it compares with "
            f"the paper's; run `gancli data download {target.dataset}`, or name another folder with --data-dir."
        )
    warnings = [f"{', '.join(differing)}: not the published files of {target.dataset}."] if differing else []
    return load(target.dataset, data_dir), warnings


def _differing(target: Target, data_dir: str | None) -> Sequence[str]:
    return [file.name for file in verify(target.dataset, data_dir) if file.state == "differs"]
