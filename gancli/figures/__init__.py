"""Pictures: sample grids, interpolations, curves."""
