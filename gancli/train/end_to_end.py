"""Tensors laid end to end in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

_ALIGNMENT = 64  # bytes, as torch aligns tensors: kernels are faster with it


def room(tensors: Sequence[Tensor]) -> int:
    """Return how many elements a buffer for these tensors has."""
    return sum(_rooms(tensors))


def parts(buffer: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return views of a buffer that have the tensors' shapes.

    Args:
        buffer: (room(tensors),).
        tensors: not empty, of one dtype.
    """
    rooms = buffer.split(_rooms(tensors))
    return tuple(place[: t.numel()].view(t.shape) for place, t in zip(rooms, tensors, strict=True))


def _rooms(tensors: Sequence[Tensor]) -> list[int]:
    step = _ALIGNMENT // tensors[0].element_size()
    return [-(-t.numel() // step) * step for t in tensors]
