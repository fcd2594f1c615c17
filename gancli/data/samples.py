"""Samples files: what `gancli sample` and `gancli train` write, and what `gancli parzen` reads from any model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancli.data.arrays import as_images, check_finite, read_npy, read_npz
from gancli.data.torchfile import read_torch_file, write_torch_file
from gancli.errors import DataError, UsageError
from gancli.files import atomic_write

FORMAT = "gancli-samples-1"
_WHAT = "a samples file (tensors and plain values)"


@dataclass(frozen=True)
class SamplesFile:
    """Samples, and where they come from as far as that is known.

    Attributes:
        samples: (n, channels, height, width); float32 in the space the networks saw, or uint8 pixels in 0..255 as
            image files and uint8 arrays have them.
        dataset: name of the data set that the model was trained on.
        preset: name of the configuration.
        run: the run folder.
        seed: of the noise.
        preprocessing: `Preprocessing.as_dict()` of the run; empty where unknown.
        versions: of gancli, torch and so on.
    """

    samples: Tensor
    dataset: str | None = None
    preset: str | None = None
    run: str | None = None
    seed: int | None = None
    preprocessing: Mapping[str, float | str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def write_samples(path: str | Path, content: SamplesFile) -> None:
    """Write a samples file: everything to .pt, the array alone to .npy.

    The file appears under its name only when it is whole.

    Raises:
        UsageError: another ending than .pt or .npy.
        GancliError: the place cannot be written to.
    """
    path = Path(path)
    samples = content.samples.detach().to("cpu").contiguous()
    if path.suffix == ".npy":
        atomic_write(path, lambda file: np.save(file, samples.numpy(), allow_pickle=False))
    elif path.suffix == ".pt":
        # A view of a larger tensor would be saved with all of what it is a view of.
        own = samples if samples.untyped_storage().nbytes() == samples.nbytes else samples.clone()
        plain: dict[str, Any] = {
            "format": FORMAT,
            "samples": own,
            "dataset": content.dataset,
            "preset": content.preset,
            "run": content.run,
            "seed": content.seed,
            "preprocessing": dict(content.preprocessing),
            "versions": dict(content.versions),
        }
        write_torch_file(path, plain)
    else:
        raise UsageError(f"Samples are written to a .pt or .npy file, got {path.name!r}; choose one of these endings.")


def read_samples(path: str | Path, *, shape: tuple[int, int, int] | None = None) -> SamplesFile:
    """Read samples of gancli or of any other model: .pt, .npy, .npz, or a folder of images.

    Args:
        path: the file or folder. A .pt holds a dict with `samples`, or a tensor alone; an .npz one array, or one
            named `samples`.
        shape: (channels, height, width) of the data set they are compared with; arrays of other layouts that have
            the same number of values are brought to it.

    Returns:
        The samples, finite, at least one; what the file does not say is None or empty.

    Raises:
        DataError: missing, damaged, not samples, NaN or infinity among them, or the wrong shape.
    """
    path = Path(path)
    if os.path.isdir(path):
        from gancli.data.folder import read_images

        return SamplesFile(as_images(read_images(path), str(path), shape))
    match path.suffix.lower():
        case ".pt" | ".pth":
            content = read_torch_file(path, what=_WHAT)
            if isinstance(content, Tensor):
                content = {"samples": content}
            return _from_dict(content, path, shape)
        case ".npy":
            values = read_npy(path)
        case ".npz":
            values = read_npz(path, ("samples",))
        case _:
            raise DataError(
                f"{path} cannot be read as samples: expected a .pt, .npy or .npz file or a folder of images."
                if os.path.exists(path)
                else f"{path} does not exist; make samples with `gancli sample --out {path.with_suffix('.pt')}`."
            )
    return SamplesFile(_checked(values, path, shape))


def _from_dict(content: Any, path: Path, shape: tuple[int, int, int] | None) -> SamplesFile:
    """Take over the entries of a .pt file that have the right type, and refuses those that have not."""
    if not isinstance(content, dict) or not isinstance(content.get("samples"), Tensor):
        raise DataError(
            f"{path} holds no samples: expected a dict with a tensor named 'samples'; is it a checkpoint? "
            f"Then `gancli sample --run` makes samples from it."
        )

    def entry(key: str, kind: type) -> Any:
        value = content.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise DataError(
                f"{path} is damaged: expected {key!r} to be {kind.__name__}, got {type(value).__name__}; make it again."
            )
        return value

    def entries(key: str, kinds: tuple[type, ...]) -> dict[str, Any]:
        values: dict[Any, Any] = entry(key, dict) or {}
        if not all(isinstance(k, str) and isinstance(v, kinds) for k, v in values.items()):
            raise DataError(f"{path} is damaged: {key!r} holds values of the wrong type; make it again.")
        return dict(values)

    return SamplesFile(
        samples=_checked(content["samples"], path, shape),
        dataset=entry("dataset", str),
        preset=entry("preset", str),
        run=entry("run", str),
        seed=entry("seed", int),
        preprocessing=entries("preprocessing", (float, int, str)),
        versions=entries("versions", (str,)),
    )


def _checked(values: Tensor, path: Path, shape: tuple[int, int, int] | None) -> Tensor:
    """Float32 or uint8, finite, (n, channels, height, width)."""
    if values.is_floating_point():
        values = values.detach().to(torch.float32)
    elif values.dtype != torch.uint8:
        raise DataError(f"{path} holds samples of type {values.dtype}, expected floats or uint8; convert them.")
    images = as_images(values.detach(), str(path), shape)
    check_finite(images, str(path))
    return images
