"""Log-sum-exp over Gaussian kernels: the Parzen-window estimate, all σ in one pass over the distances.

The three functions share their first arguments: x (m, d) points to score, samples (n, d) kernel centres, sigmas (s,)
kernel widths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.ops import checks, native
from gancli.ops.precision import full_precision

# Distances live only in tiles of this many test and sample points: 4 MiB of float32, so that the passes over a tile
# (one per σ) run in the second-level cache instead of memory.
TILE_ROWS = 256
TILE_COLUMNS = 4096
# Columns of one matrix product: float32 rounding grows with the length of a sum, so that d is summed in pieces.
SLAB = 256
# Beyond these 1/σ² leaves the range of float32.
SIGMA_LIMITS = (1e-15, 1e15)
# The CUDA kernel addresses the bytes of a packed row in 32 bits.
MOST_COLUMNS = 2**29 - 1


def parzen_log_sum_exp(
    x: Tensor, samples: Tensor, sigmas: Tensor | Sequence[float], *, backend: str = "auto"
) -> Tensor:
    """Sum Gaussian kernels around samples, in logarithms and without ever storing the m×n distances.

    L[s, i] = log Σ_j exp(−‖x_i − μ_j‖² / (2 σ_s²))

    Chunks of samples combine exactly: the result for a joined set is torch.logaddexp of the results for its parts.
    Not differentiable.

    Args:
        x: (m, d) float, the points to score.
        samples: (n, d) float, n ≥ 1, the kernel centres μ_j, same device as x.
        sigmas: (s,) kernel widths from 1e-15 to 1e15, in the unit of the data.
        backend: "auto", "torch" or "native".

    Returns:
        L (s, m), float32 (float64 if x or samples is float64), in nats.

    Memory beyond inputs and result: O(m·s) and tiles on the CPU. On a GPU at most 256 MiB for d up to 10 million,
    whatever m, n and s; beyond that 8·d bytes.

    Raises:
        InputError: a shape, dtype or width is off, a row holds NaN or infinity, or lies so far from the rest that its
            squared distances overflow.
        UsageError: the backend is unknown, or "native" cannot serve these inputs.

    Source: section 5 of the paper; parzen_ll.py of the released code.
    """
    x, samples, widths = _checked(x, samples, sigmas)
    module = native.choose(
        backend,
        operation="parzen_log_sum_exp",
        device_type=x.device.type,
        supported=x.dtype == torch.float32 and x.shape[1] <= MOST_COLUMNS,
        why_not=f"it computes in float32 with d up to {MOST_COLUMNS}, got {x.dtype} and d = {x.shape[1]}",
    )
    if module is None:
        checks.require_finite_rows("x", x)
        checks.require_finite_rows("samples", samples)
        with full_precision(x.device):
            return _tiled(x, samples, widths)
    result: Tensor = _native(x, samples, widths)
    return result


def parzen_log_sum_exp_reference(
    x: Tensor, samples: Tensor, sigmas: Tensor | Sequence[float], *, backend: str = "torch"
) -> Tensor:
    """Compute L as its formula stands, from explicit differences; in float64 when given float64."""
    del backend
    differences = x[:, None, :] - samples[None, :, :]
    squared_distances = differences.square().sum(dim=2)
    widths = torch.as_tensor(sigmas, dtype=x.dtype, device=x.device)
    return torch.stack([torch.logsumexp(-squared_distances / (2 * sigma**2), dim=1) for sigma in widths])


def parzen_log_likelihood(
    x: Tensor, samples: Tensor, sigmas: Tensor | Sequence[float], *, backend: str = "auto"
) -> Tensor:
    """Evaluate the Parzen-window density, the mean of n Gaussians N(μ_j, σ²I), at each point.

    log p(x_i) = L[s, i] − log n − d·log(σ_s·√(2π))

    Args:
        x: (m, d) float, the points to score.
        samples: (n, d) float, the kernel centres.
        sigmas: (s,) positive kernel widths.
        backend: "auto", "torch" or "native".

    Returns:
        (s, m) log-likelihoods in nats, dtype as parzen_log_sum_exp.

    Raises:
        InputError: as parzen_log_sum_exp.

    Source: section 5 of the paper; parzen_ll.py of the released code.
    """
    log_sums = parzen_log_sum_exp(x, samples, sigmas, backend=backend)
    n, d = samples.shape
    return log_sums - log_normaliser(sigmas, num_samples=n, dimension=d).to(log_sums)[:, None]


def log_normaliser(sigmas: Tensor | Sequence[float], *, num_samples: int, dimension: int) -> Tensor:
    """Return log n + d·log(σ√(2π)) for each σ, (s,) float64: what separates L from log p."""
    widths = torch.as_tensor(sigmas, dtype=torch.float64)
    return math.log(num_samples) + dimension * (widths.log() + 0.5 * math.log(2 * math.pi))


def _checked(x: Tensor, samples: Tensor, sigmas: Tensor | Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, samples in one floating dtype and σ as float64 on the CPU, or raise InputError."""
    for name, tensor, rows in (("x", x, "m"), ("samples", samples, "n")):
        checks.require_shape(name, tensor, (rows, "d"))
        checks.require_floating(name, tensor)
    if x.shape[1] != samples.shape[1]:
        raise InputError(f"x and samples must have the same width d, got {x.shape[1]} and {samples.shape[1]}.")
    if x.device != samples.device:
        raise InputError(f"x and samples must be on one device, got {x.device} and {samples.device}.")
    if samples.shape[0] == 0 or samples.shape[1] == 0:
        raise InputError(f"samples must have at least one row and one column, got shape {tuple(samples.shape)}.")
    widths = torch.as_tensor(sigmas, dtype=torch.float64).detach().cpu()
    checks.require_shape("sigmas", widths, ("s",))
    bad = widths[~((widths >= SIGMA_LIMITS[0]) & (widths <= SIGMA_LIMITS[1]))]
    if bad.numel():
        raise InputError(
            f"sigmas must be positive, from {SIGMA_LIMITS[0]:g} to {SIGMA_LIMITS[1]:g}, got {bad[0].item()}; scale "
            "data and sigmas alike."
        )
    dtype = torch.float64 if torch.float64 in (x.dtype, samples.dtype) else torch.float32
    return x.detach().to(dtype), samples.detach().to(dtype), widths


def _overflow_error(name: str) -> InputError:
    return InputError(
        f"{name} holds a row so far from the mean of samples that squared distances overflow float32; "
        "scale the data down or pass float64."
    )


@torch.library.custom_op(
    "gancli::parzen_log_sum_exp",
    mutates_args=(),
    schema="(Tensor x, Tensor samples, Tensor sigmas) -> Tensor",
    device_types="cpu",
)
def _native(x: Tensor, samples: Tensor, sigmas: Tensor) -> Tensor:
    """Run csrc/cpu/parzen.cpp as an operator that torch knows: x, samples float32, sigmas float64, all on the CPU."""
    module = native.require("_cpu", "gancli::parzen_log_sum_exp")
    checks.require_float32("gancli::parzen_log_sum_exp", x=x, samples=samples)
    x, samples, sigmas = _checked(x, samples, sigmas)
    result = x.new_empty((len(sigmas), len(x)))
    # The kernels see every row as they pack it, so that finite input costs no pass of its own.
    refused = module.parzen_log_sum_exp(
        **_arguments(result, x, samples, sigmas),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    if refused:
        checks.require_finite_rows("x", x)
        checks.require_finite_rows("samples", samples)
        raise _overflow_error(refused)
    return result


@_native.register_kernel("cuda")
def _(x: Tensor, samples: Tensor, sigmas: Tensor) -> Tensor:
    """Run csrc/cuda/parzen.cu: x, samples float32 on one GPU, sigmas float64 on the CPU."""
    module = native.require("_cuda", "gancli::parzen_log_sum_exp")
    checks.require_float32("gancli::parzen_log_sum_exp", x=x, samples=samples)
    x, samples, sigmas = _checked(x, samples, sigmas)
    (m, d), n, product, device = x.shape, len(samples), native.cuda_product(), x.device.index
    result = x.new_empty((len(sigmas), m))
    if result.numel() == 0:
        return result
    with torch.cuda.device(x.device):
        # From torch's allocator, which keeps memory in use until the work queued on this stream is done.
        workspace = x.new_empty(module.parzen_workspace_bytes(product, m, n, d, len(sigmas), device), dtype=torch.uint8)
        refused = torch.full((2,), module.NOT_REFUSED, dtype=torch.int64, device=x.device)
        module.parzen_log_sum_exp(
            product=product,
            **_arguments(result, x, samples, sigmas),
            refused=refused.data_ptr(),
            workspace=workspace.data_ptr(),
            device=device,
            stream=torch.cuda.current_stream().cuda_stream,
        )
        rows = refused.tolist()
    for name, row in zip(("x", "samples"), rows, strict=True):
        if row != module.NOT_REFUSED:
            # The centre comes from samples: what is wrong with them can show in x first.
            checks.require_finite_rows("x", x)
            checks.require_finite_rows("samples", samples)
            raise _overflow_error(name)
    return result


def _arguments(result: Tensor, x: Tensor, samples: Tensor, sigmas: Tensor) -> dict[str, Any]:
    """Return what both kernels take: where the tensors lie, their sizes and strides, and σ."""
    return {
        "out": result.data_ptr(),
        "x": x.data_ptr(),
        "m": x.shape[0],
        "x_row_stride": x.stride(0),
        "x_column_stride": x.stride(1),
        "samples": samples.data_ptr(),
        "n": samples.shape[0],
        "samples_row_stride": samples.stride(0),
        "samples_column_stride": samples.stride(1),
        "d": x.shape[1],
        "sigmas": sigmas.tolist(),
    }


@_native.register_fake
def _(x: Tensor, samples: Tensor, sigmas: Tensor) -> Tensor:
    return x.new_empty((len(sigmas), len(x)))


@torch.no_grad()
def _tiled(x: Tensor, samples: Tensor, widths: Tensor) -> Tensor:
    """The torch path: matrix products on tiles, minimum distance taken out, all σ while the tile is in cache."""
    # ‖x − μ‖² is expanded into ‖x‖² − 2 x·μ + ‖μ‖², which cancels badly far from the origin: move it to the data.
    centre = samples.mean(dim=0, dtype=torch.float64).to(x.dtype)
    x, samples = x - centre, samples - centre
    x_norms, sample_norms = x.square().sum(dim=1), samples.square().sum(dim=1)
    for name, norms in (("x", x_norms), ("samples", sample_norms)):
        if not torch.isfinite(norms).all():
            raise _overflow_error(name)
    scales = [-0.5 / width**2 for width in widths.tolist()]
    # In double precision, which costs nothing here: the largest exponent alone has tens of thousands of nats.
    result = x.new_full((len(scales), x.shape[0]), -math.inf, dtype=torch.float64)
    for row in range(0, x.shape[0], TILE_ROWS):
        rows = slice(row, row + TILE_ROWS)
        for column in range(0, samples.shape[0], TILE_COLUMNS):
            columns = slice(column, column + TILE_COLUMNS)
            distances = _squared_distances(x[rows], samples[columns], x_norms[rows], sample_norms[columns])
            nearest = distances.min(dim=1, keepdim=True).values
            distances.sub_(nearest)
            for s, scale in enumerate(scales):
                sums = (distances * scale).exp_().sum(dim=1, dtype=torch.float64)
                result[s, rows] = torch.logaddexp(result[s, rows], sums.log_() + nearest[:, 0].double() * scale)
    return result.to(x.dtype)


def _squared_distances(x: Tensor, samples: Tensor, x_norms: Tensor, sample_norms: Tensor) -> Tensor:
    """Return ‖x_i − μ_j‖² of one tile, (m, n), the nearest of each row exact to rounding of the difference itself."""
    products = x[:, :SLAB] @ samples[:, :SLAB].T
    for column in range(SLAB, x.shape[1], SLAB):
        columns = slice(column, column + SLAB)
        products.addmm_(x[:, columns], samples[:, columns].T)
    distances = products.mul_(-2).add_(x_norms[:, None]).add_(sample_norms).clamp_(min=0)
    # What cancels in ‖x‖² − 2 x·μ + ‖μ‖² hurts where little is left; there one look at the difference settles it.
    index = distances.argmin(dim=1, keepdim=True)
    closest = (x - samples[index[:, 0]]).square().sum(dim=1, keepdim=True)
    return distances.scatter_(1, index, closest)
