"""Dropout whose mask is a function of one seed, so that forward and backward draw it alike and nobody keeps it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gancli.errors import InputError
from gancli.ops import checks, native

# How the native kernel lays its random numbers out (csrc/cpu/layer_kernels.h).
_BLOCK, _LANES = 64, 16
_ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def dropout(x: Tensor, keep: float, rng: torch.Generator | None = None, *, backend: str = "auto") -> Tensor:
    """Keep each value with probability `keep` and scale it by 1/keep; drop the rest.

    y = x·mask/keep, mask ~ Bernoulli(keep)

    The native kernel takes one seed from `rng` per call and counts from there (Threefry), whatever the number of
    threads; the torch path draws every value from `rng`. Both repeat when the state of `rng` is restored, but their
    masks differ.

    Args:
        x: any shape, float.
        keep: 0 < keep ≤ 1.
        rng: the source of randomness, on x's device; None: torch's default.
        backend: "auto", "torch" or "native".

    Returns:
        y, shape and dtype of x; differentiable in x (once, on the native path).

    Raises:
        InputError: `keep` is out of range, or x is not floating point.
        UsageError: the backend is unknown, or "native" cannot serve x.

    Source: Srivastava et al. 2014; the scaling by 1/keep is that of the released configurations (Pylearn2).
    """
    checks.require_floating("x", x)
    if not 0 < keep <= 1:
        raise InputError(f"keep must be above 0 and at most 1, got {keep}.")
    # The compiler cannot follow a draw from a generator of one's own into a kernel; torch's operators, it can.
    compiled = torch.compiler.is_compiling()
    supported = x.dtype == torch.float32 and (compiled or native.plain(x))
    why_not = f"it computes in float32 outside torch.func, x is {x.dtype}"
    if not native.chosen(backend, "dropout", x.device.type, supported, why_not) or compiled:
        mask = torch.empty_like(x).bernoulli_(keep, generator=rng)
        return x * mask.mul_(1 / keep)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=rng))
    y: Tensor = _Dropout.apply(x, seed, keep)  # type: ignore[no-untyped-call]
    return y


def dropout_reference(x: Tensor, keep: float, seed: int) -> Tensor:
    """Apply the native kernel's mask for `seed`, its random numbers written out in integer arithmetic."""
    i = torch.arange(x.numel(), dtype=torch.int64)
    counter, word_of_i = i // _BLOCK * _LANES + i % _LANES, i // _LANES % 4
    low = 0xFFFFFFFF
    key = (seed & low, seed >> 32 & low, 0, 0, 0x1BD11BDA ^ (seed & low) ^ (seed >> 32 & low))
    v = [(counter & low) + key[0], (counter >> 32) + key[1], torch.zeros_like(i), torch.zeros_like(i)]
    for n in range(20):  # Threefry4x32-20, Salmon et al. 2011
        for a, b, bits in zip((0, 2), (1, 3) if n % 2 == 0 else (3, 1), _ROTATIONS[n % 8], strict=True):
            v[a] = v[a] + v[b] & low
            v[b] = (v[b] << bits | v[b] >> 32 - bits) & low ^ v[a]
        if n % 4 == 3:
            s = n // 4 + 1
            v = [value + key[(s + word) % 5] + (s if word == 3 else 0) & low for word, value in enumerate(v)]
    random = torch.stack(v).gather(0, word_of_i[None])[0]
    return torch.where(random.view(x.shape) < round(keep * 2**32), x * (1 / keep), torch.zeros_like(x))


def _apply(x: Tensor, seed: int, keep: float) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    module = native.require("_cpu", "dropout")
    module.dropout(
        x=x.data_ptr(),
        y=y.data_ptr(),
        count=x.numel(),
        seed=seed,
        keep=keep,
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return y


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, keep: float) -> Tensor:
        ctx.seed, ctx.keep = seed, keep
        return _apply(x, seed, keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor, None, None]:
        return _apply(v_y, ctx.seed, ctx.keep), None, None
