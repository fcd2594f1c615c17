"""What torch's settings let a device do to float32: the one place that reads and overrides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def tf32_allowed() -> bool:
    """Say whether torch lets float32 matrix products on a CUDA device run in TF32."""
    matmul = torch.backends.cuda.matmul
    try:
        return bool(matmul.allow_tf32)
    except RuntimeError:  # as below
        return bool(matmul.fp32_precision == "tf32")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return halves in float32, for which there are kernels, and float64, which autocast leaves alone, as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep matrix products of float32 and wider in their own precision, whatever the user allows them elsewhere.

    Fewer bits would break the bounds on rounding: autocast's, TF32's 11 on a GPU, and the 8 of bfloat16 in which torch
    may multiply on CPUs that do it fast. torch's settings are the process's: afterwards they are as before.
    """
    restore = _forbid_tf32() if device.type == "cuda" else _forbid_bfloat16()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if restore is not None:
            restore()


def _forbid_bfloat16() -> Callable[[], None] | None:
    """Forbid it on the CPU, and return what brings the user's setting back; None where it was not allowed."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9 on
    if matmul is None:
        if torch.get_float32_matmul_precision() != "medium":
            return None
        torch.set_float32_matmul_precision("highest")
        return lambda: torch.set_float32_matmul_precision("medium")
    before = matmul.fp32_precision
    if before in ("ieee", "none"):
        return None
    matmul.fp32_precision = "ieee"
    return lambda: setattr(matmul, "fp32_precision", before)


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
