"""Run every CUDA kernel once on small problems: what benchmarks/gpu_check.sh has compute-sanitizer watch."""

from __future__ import annotations

import os

import torch

from gancli.ops import maxout, native, parzen_log_sum_exp


def main() -> None:
    """Run both products of Parzen over several tiles and splits, and maxout and its gradients in both sizes."""
    for product in native.CUDA_PRODUCTS:
        os.environ["GANCLI_CUDA_PRODUCT"] = product
        for m, n, d in ((1, 1, 1), (130, 300, 70), (20, 3000, 33), (300, 5, 784)):
            x, samples = torch.rand(m, d).cuda(), torch.rand(n, d).cuda()
            result = parzen_log_sum_exp(x, samples, [0.5, 2.0, 30.0], backend="native")
            assert bool(torch.isfinite(result.cpu()).all())
    for shape in ((5, 40, 7, 5), (2049, 40, 200, 5), (1030, 2050, 6, 2)):
        batch, inputs, units, pieces = shape
        layer = [torch.randn(size).cuda().requires_grad_() for size in ((units, pieces, inputs), (units, pieces))]
        x = torch.randn(batch, inputs).cuda().requires_grad_()
        y = maxout(x, *layer, backend="native")
        y.backward(torch.ones_like(y))
        assert bool(torch.isfinite(x.grad.cpu()).all())
    print("every kernel ran")


if __name__ == "__main__":
    main()
