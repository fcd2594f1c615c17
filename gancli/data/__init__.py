"""Data sets: one module per source, all behind one registry."""
