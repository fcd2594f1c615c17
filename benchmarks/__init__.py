"""Benchmarks: gancli beside its peers and beside the limits of the machine, in one interleaved run."""
