"""Pictures: sample grids, interpolations, curves.

Every function takes numbers that are already computed and writes one file, whole or not at all. Importing this
package loads neither torch nor matplotlib.
"""

from __future__ import annotations

from gancli.figures.curves import save_sigma_curve, save_training_curves
from gancli.figures.density import save_density
from gancli.figures.grid import make_grid, save_grid, save_sample_grid_with_neighbours
from gancli.figures.interpolation import save_animation, save_interpolation
from gancli.figures.terminal import render_ascii

__all__ = [
    "make_grid",
    "render_ascii",
    "save_animation",
    "save_density",
    "save_grid",
    "save_interpolation",
    "save_sample_grid_with_neighbours",
    "save_sigma_curve",
    "save_training_curves",
]
