"""Pictures: sample grids, interpolations, curves.

Every function takes numbers that are already computed and writes one file, whole or not at all. Importing this
package loads neither torch nor matplotlib.
"""

from __future__ import annotations

from gancli.figures.curves import save_sigma_curve
from gancli.figures.density import save_density
from gancli.figures.grid import save_grid, save_sample_grid_with_neighbours
from gancli.figures.interpolation import save_animation, save_interpolation

__all__ = [
    "save_animation",
    "save_density",
    "save_grid",
    "save_interpolation",
    "save_sample_grid_with_neighbours",
    "save_sigma_curve",
]
