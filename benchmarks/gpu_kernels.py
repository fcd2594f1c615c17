"""Run every CUDA kernel once on small problems: what benchmarks/gpu_check.sh has compute-sanitizer watch."""

from __future__ import annotations

import os

import torch

from gancli.ops import native, parzen_log_sum_exp


def main() -> None:
    """Run the Parzen kernels: both products, several tiles, splits, items per block, a last tile that is not full."""
    for product in native.CUDA_PRODUCTS:
        os.environ["GANCLI_CUDA_PRODUCT"] = product
        for m, n, d in ((1, 1, 1), (130, 300, 70), (20, 3000, 33), (300, 5, 784)):
            x, samples = torch.rand(m, d).cuda(), torch.rand(n, d).cuda()
            result = parzen_log_sum_exp(x, samples, [0.5, 2.0, 30.0], backend="native")
            assert bool(torch.isfinite(result.cpu()).all())
    print("every kernel ran")


if __name__ == "__main__":
    main()
