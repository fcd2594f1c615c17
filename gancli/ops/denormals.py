"""Denormal numbers taken for zero, which is what they mean to a network.

Where a unit is dead its gradients are zero and its velocity shrinks by the momentum again and again, until it is the
smallest number there is and rounding keeps it there: in a trained generator a fifth of all velocities. Each costs an
x86 CPU some hundred cycles whenever it is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gancli.ops import native


def flushes_denormals() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return float(torch.tensor([1e-39], dtype=torch.float32, device="cpu").mul_(1.0)) == 0


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """While active, take float32 below 1.2e-38 for zero on the CPU: in this thread and in torch's team of threads.

    Without the native module: in this thread and in those that torch starts from now on.
    """
    before = flushes_denormals()
    _set(True)
    try:
        yield
    finally:
        _set(before)


def _set(on: bool) -> None:
    torch.set_flush_denormal(on)
    module, _ = native.load("_cpu")
    if module is not None:
        module.set_flush_denormals(on=on, threads=torch.get_num_threads())
