"""What torch's settings let a GPU do to float32: the one place that reads and overrides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def tf32_allowed() -> bool:
    """Say whether torch lets float32 matrix products on a CUDA device run in TF32."""
    matmul = torch.backends.cuda.matmul
    try:
        return bool(matmul.allow_tf32)
    except RuntimeError:  # as below
        return bool(matmul.fp32_precision == "tf32")


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Keep float32 matrix products on a CUDA device from running in TF32, whose 11 bits break the bounds on rounding.

    The setting is the process's, as torch has it: afterwards it is as before.
    """
    restore = _forbid_tf32() if device.type == "cuda" else None
    try:
        yield
    finally:
        if restore is not None:
            restore()


def _forbid_tf32() -> Callable[[], None] | None:
    """Forbid it, and return what brings the user's setting back; None where it was not allowed."""
    matmul = torch.backends.cuda.matmul
    try:
        allowed = matmul.allow_tf32
    except RuntimeError:  # torch ≥ 2.9 does not tell where the user chose by fp32_precision; the two must not be mixed
        before = matmul.fp32_precision
        matmul.fp32_precision = "ieee"
        return lambda: setattr(matmul, "fp32_precision", before)
    if not allowed:
        return None
    chosen = torch.get_float32_matmul_precision()
    matmul.allow_tf32 = False
    if chosen == "medium":  # which allow_tf32 would turn into "high"
        return lambda: torch.set_float32_matmul_precision(chosen)
    return lambda: setattr(matmul, "allow_tf32", True)


@contextmanager
def repeatable_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN take only kernels that repeat themselves to the bit: some of its gradients add up in any order."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
