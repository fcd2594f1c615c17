"""Samples as a picture: a grid of images, or for one-dimensional data the densities of Figure 1."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gancli.data.preprocess import Preprocessing


def save_samples_picture(
    path: Path, samples: Tensor, preprocessing: Preprocessing, train: Tensor | None, *, columns: int = 10
) -> None:
    """Write a PNG of samples.

    Args:
        path: the file.
        samples: (n, channels, height, width) float32, as the networks see them.
        preprocessing: turns them back into pixels.
        train: raw training examples, needed where they are single numbers and the picture shows both densities.
        columns: images per row.
    """
    if train is not None and samples[0].numel() == 1:
        from gancli.figures.density import save_density

        save_density(path, samples.detach().flatten().cpu(), train.flatten().float())
        return
    from gancli.figures.grid import save_grid

    save_grid(path, preprocessing.to_display(samples.detach()).cpu(), columns=columns)
