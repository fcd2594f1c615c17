"""Run every CUDA kernel once on small problems: what benchmarks/gpu_check.sh has compute-sanitizer watch."""

from __future__ import annotations

import os

import torch

from gancli.ops import maxout, maxout_conv2d, momentum_update, native, parzen_log_sum_exp


def main() -> None:
    """Run both products of Parzen over several tiles and splits, the layers and their gradients, and the update."""
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
    for dtype in (torch.float32, torch.bfloat16):
        conv = [torch.randn(size).cuda().requires_grad_() for size in ((2, 3, 9, 8), (6, 3, 3, 3), (6,))]
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            y = maxout_conv2d(*conv, pieces=2, pad=1, pool=4, stride=2, backend="native")
        y.float().sum().backward()
        assert bool(torch.isfinite(conv[1].grad.cpu()).all())
    tensors = [[torch.randn(size).cuda() for size in (1, 2049, 300)] for _ in range(3)]
    for rate_inside in (True, False):
        momentum_update(*tensors, lr=0.1, momentum=0.5, rate_inside=rate_inside, backend="native")
    assert all(bool(torch.isfinite(tensor.cpu()).all()) for tensor in tensors[0])
    print("every kernel ran")


if __name__ == "__main__":
    main()
