"""The maxout convolution: torch's path against plain loops, the CUDA kernels in emulation and on a GPU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gancli.errors import InputError, UsageError
from gancli.ops import maxout_conv2d, maxout_conv2d_reference, maxout_pool

# (batch, in, height, width, channels, pieces, kernel, pad, pool, stride): cifar10-conv's first layer, then corners
CASES = [
    (4, 3, 32, 32, 6, 2, 8, 4, 4, 2),
    (2, 1, 9, 7, 3, 3, 3, 0, 2, 2),
    (1, 2, 5, 5, 1, 1, 1, 0, 5, 1),
    (3, 2, 8, 11, 2, 5, 3, 1, 3, 1),
]
Layer = tuple[Tensor, Tensor, Tensor]


def made(case: tuple[int, ...], device: str | torch.device = "cpu") -> tuple[Layer, dict[str, int]]:
    batch, inputs, height, width, channels, pieces, kernel, pad, pool, stride = case
    shapes = ((batch, inputs, height, width), (channels * pieces, inputs, kernel, kernel), (channels * pieces,))
    x, weight, bias = (torch.randn(shape).to(device).requires_grad_() for shape in shapes)
    return (x, weight, bias), {"pieces": pieces, "pad": pad, "pool": pool, "stride": stride}


@pytest.mark.parametrize("kernels", ["maxout_pool", "momentum"])
def test_cuda_kernels_pass_their_self_test_in_emulation(emulated: Callable[[str], Path], kernels: str) -> None:
    done = subprocess.run([str(emulated(kernels))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_layer_is_its_formula(case: tuple[int, ...]) -> None:
    (x, weight, bias), settings = made(case)
    y = maxout_conv2d(x, weight, bias, **settings)
    z = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), padding=settings["pad"])
    pieces, pool, stride = settings["pieces"], settings["pool"], settings["stride"]
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            window = z[:, :, row * stride : row * stride + pool, column * stride : column * stride + pool]
            best = window.amax(dim=(2, 3)).unflatten(1, (-1, pieces)).amax(dim=2)
            torch.testing.assert_close(y[:, :, row, column].double(), best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [*CASES, (1, 1, 5, 6, 2, 2, 1, 0, 1, 3)])
def test_the_kernel_s_result_has_the_shape_of_torch_s(case: tuple[int, ...]) -> None:
    (x, weight, bias), settings = made(case)
    expected = maxout_conv2d_reference(x, weight, bias, **settings)
    z = torch.nn.functional.conv2d(x, weight, padding=settings["pad"]).to("meta")
    arguments = (settings["pieces"], settings["pool"], settings["stride"])
    y, index = torch.ops.gancli.maxout_pool(z, bias.to("meta"), *arguments)
    assert (y.shape, index.shape, index.dtype) == (expected.shape, expected.shape, torch.uint8)
    v_z = torch.ops.gancli.maxout_pool_backward(y, index, *z.shape[2:], *arguments)
    assert v_z.shape == z.shape


def test_wrong_shapes_are_refused() -> None:
    (x, weight, bias), settings = made(CASES[0])
    with pytest.raises(InputError, match="x has 3 channels"):
        maxout_conv2d(x, weight[:, :2], bias, **settings)
    with pytest.raises(InputError, match="a multiple of 5 rows, got 12 and 12"):
        maxout_conv2d(x, weight, bias, **{**settings, "pieces": 5})
    with pytest.raises(InputError, match=r"x must have shape \(batch, in, height, width\)"):
        maxout_conv2d(x[0], weight, bias, **settings)


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu_it_agrees_with_float64(cuda: torch.device, case: tuple[int, ...]) -> None:
    """Where candidates are equal up to rounding either may win: so a few gradients may differ, not many."""
    tensors, settings = made(case, cuda)
    y = maxout_conv2d(*tensors, **settings, backend="native")
    exact = [t.detach().double().requires_grad_() for t in tensors]
    expected = maxout_conv2d(*exact, **settings)
    v_y = torch.randn_like(y)
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)  # cuDNN may convolve in TF32
    found = torch.autograd.grad(y, tensors, v_y)
    for actual, exactly in zip(found, torch.autograd.grad(expected, exact, v_y.double()), strict=True):
        assert (actual.double() - exactly).norm() <= 0.03 * exactly.norm()


@pytest.mark.cuda
def test_on_a_gpu_the_pooling_kernels_agree_with_torch_exactly(cuda: torch.device) -> None:
    z = torch.randint(-2, 3, (3, 10, 9, 8), device=cuda).float().requires_grad_()
    bias = torch.randint(-2, 3, (10,), device=cuda).float().requires_grad_()
    for pool, stride in ((4, 2), (2, 2), (3, 1)):
        y, _ = torch.ops.gancli.maxout_pool(z, bias, 5, pool, stride)
        best = (z + bias[:, None, None]).unflatten(1, (2, 5)).max(dim=2).values
        expected = torch.nn.functional.max_pool2d(best, pool, stride, ceil_mode=True)
        assert torch.equal(y, expected)
        v_y = torch.randint(-3, 4, y.shape, device=cuda).float()
        for a, b in zip(
            torch.autograd.grad(y, (z, bias), v_y), torch.autograd.grad(expected, (z, bias), v_y), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.cuda
def test_on_a_gpu_it_passes_opcheck_and_refuses_what_a_byte_cannot_hold(cuda: torch.device) -> None:
    z, bias = torch.randn(2, 6, 7, 7, device=cuda).requires_grad_(), torch.randn(6, device=cuda).requires_grad_()
    torch.library.opcheck(torch.ops.gancli.maxout_pool.default, (z, bias, 3, 3, 2))
    (x, weight, bias), settings = made((1, 1, 12, 12, 1, 2, 1, 0, 12, 1), cuda)
    assert maxout_pool.MOST_CANDIDATES < 2 * 12**2
    assert maxout_conv2d(x, weight, bias, **settings).shape == (1, 1, 1, 1)
    with pytest.raises(UsageError, match="at most 256"):
        maxout_conv2d(x, weight, bias, **settings, backend="native")


@pytest.mark.cuda
def test_on_a_gpu_autocast_takes_it_to_bfloat16(cuda: torch.device) -> None:
    tensors, settings = made(CASES[0], cuda)
    expected = maxout_conv2d(*tensors, **settings)
    for backend in ("native", "torch"):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = maxout_conv2d(*tensors, **settings, backend=backend)
        assert y.dtype == torch.bfloat16
        assert (y.float() - expected).norm() <= 0.02 * expected.norm()  # 8 bits
        found = torch.autograd.grad(y.float().square().sum(), tensors)
        assert [g.dtype for g in found] == [torch.float32] * 3
    with torch.autocast("cuda", dtype=torch.float16):
        assert maxout_conv2d(*tensors, **settings).dtype == torch.float16
