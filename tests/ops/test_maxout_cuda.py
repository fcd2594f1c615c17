"""The CUDA maxout kernels: on the CPU in an emulated block of threads, and on a GPU where there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gancli.errors import UsageError
from gancli.ops import maxout, maxout_cuda
from gancli.ops.precision import full_precision

# Largest error against float64, in units of Σ|terms| of the sum that makes the entry: as on the CPU.
TOLERANCE = 1e-6


def test_maxout_cuda_kernels_pass_their_self_test_in_emulation(emulated: Callable[[str], Path]) -> None:
    done = subprocess.run([str(emulated("maxout"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_maxout_operators_have_cuda_kernels() -> None:
    for name in ("gancli::maxout", "gancli::maxout_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(cuda: torch.device) -> torch.device:
    return cuda


def layer(batch: int, inputs: int, units: int, pieces: int) -> list[Tensor]:
    shapes = ((batch, inputs), (units, pieces, inputs), (units, pieces))
    return [torch.randn(shape, device="cuda").requires_grad_() for shape in shapes]


def assert_near(name: str, actual: Tensor, expected: Tensor, scale: Tensor) -> None:
    assert actual.shape == expected.shape, name
    excess = (actual.double() - expected).abs() / (TOLERANCE * scale + 1e-30)
    assert excess.max() <= 1, f"{name}: {float(excess.max()):.1f} times the tolerance"


def check(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Forward and backward against explicit sums in float64, with the kernel's own winners where pieces are close."""
    y = maxout(x, weight, bias, backend="native")
    v_y = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, weight, bias), v_y)
    _, index = torch.ops.gancli.maxout(x, weight, bias)
    x, weight, bias, v_y = (t.detach().double() for t in (x, weight, bias, v_y))
    z = torch.einsum("bi,upi->bup", x, weight) + bias
    size = torch.einsum("bi,upi->bup", x.abs(), weight.abs()) + bias.abs()
    best = z.amax(dim=2)
    assert_near("y", y.detach(), best, size.amax(dim=2))
    winner = index.long()[..., None]
    assert_near("index", z.gather(2, winner)[..., 0], best, 2 * size.amax(dim=2))
    v_z = torch.zeros_like(z).scatter_(2, winner, v_y[..., None])
    for name, actual, formula, left, right in (
        ("v_x", found[0], "bup,upi->bi", v_z, weight),
        ("v_weight", found[1], "bup,bi->upi", v_z, x),
        ("v_bias", found[2], "bup,b->up", v_z, torch.ones(len(x), dtype=torch.float64, device=x.device)),
    ):
        scale = torch.einsum(formula, left.abs(), right.abs())
        assert_near(name, actual, torch.einsum(formula, left, right), scale)


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("batch", "inputs", "units", "pieces"),
    [
        (1, 1, 1, 1),
        (33, 31, 13, 5),
        (100, 784, 240, 5),
        (127, 65, 129, 2),
        (1000, 300, 500, 5),
        (600, 3072, 900, 3),
        (2, 129, 3, 64),
        (2049, 40, 700, 1),
        (1030, 2050, 6, 2),  # v_x with eight rows a warp
    ],
)
def test_maxout_on_a_gpu_agrees_with_float64(
    gpu: torch.device, batch: int, inputs: int, units: int, pieces: int
) -> None:
    check(*layer(batch, inputs, units, pieces))


@pytest.mark.cuda
def test_maxout_on_a_gpu_gives_a_tie_to_the_lowest_piece(gpu: torch.device) -> None:
    for batch, units in ((3, 2), (2000, 300)):
        weight = torch.randn(units, 1, 40, device=gpu).expand(units, 5, 40).contiguous()
        _, index = torch.ops.gancli.maxout(
            torch.randn(batch, 40, device=gpu), weight, torch.zeros(units, 5, device=gpu)
        )
        assert not index.any()


@pytest.mark.cuda
def test_maxout_on_a_gpu_repeats_itself_bit_for_bit(gpu: torch.device) -> None:
    for shape in ((100, 784, 240, 5), (1000, 300, 500, 5)):
        x, weight, bias = layer(*shape)
        results = []
        for _ in range(3):
            y = maxout(x, weight, bias, backend="native")
            results.append([y, *torch.autograd.grad(y.square().sum(), (x, weight, bias))])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.cuda
def test_maxout_on_a_gpu_takes_empty_batches_and_strided_inputs(gpu: torch.device) -> None:
    x, weight, bias = layer(6, 10, 4, 3)
    assert maxout(x[:0], weight, bias, backend="native").shape == (0, 4)
    expected = maxout(x, weight, bias, backend="native")
    assert torch.equal(maxout(x.T.contiguous().T, weight, bias, backend="native"), expected)


@pytest.mark.cuda
def test_maxout_on_a_gpu_refuses_more_pieces_than_a_tile_holds(gpu: torch.device) -> None:
    x, weight, bias = layer(2, 3, 2, maxout_cuda.MOST_PIECES + 1)
    assert maxout(x, weight, bias).shape == (2, 2)
    with pytest.raises(UsageError, match="at most 64 pieces"):
        maxout(x, weight, bias, backend="native")


@pytest.mark.cuda
@pytest.mark.parametrize("piece", [0, 1, 2])
@pytest.mark.parametrize("batch", [3, 2000], ids=["small", "large"])
def test_a_nan_reaches_the_output_on_a_gpu(gpu: torch.device, batch: int, piece: int) -> None:
    x, weight, bias = (t.detach() for t in layer(batch, 400, 500, 3))
    weight[2, piece, 0] = torch.nan
    wrong = maxout(x, weight, bias, backend="native").isnan()
    assert wrong[:, 2].all()
    assert int(wrong.sum()) == batch


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck itself, torch 2.15
def test_maxout_on_a_gpu_passes_opcheck(gpu: torch.device) -> None:
    torch.library.opcheck(torch.ops.gancli.maxout.default, tuple(layer(5, 7, 3, 2)))


@pytest.mark.cuda
@pytest.mark.parametrize("shape", [(100, 784, 240, 5), (1000, 300, 500, 5)], ids=["small", "large"])
def test_maxout_on_a_gpu_is_captured_in_a_graph(gpu: torch.device, shape: tuple[int, int, int, int]) -> None:
    x, weight, bias = (t.detach() for t in layer(*shape))
    torch.ops.gancli.maxout(x, weight, bias)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, _ = torch.ops.gancli.maxout(x, weight, bias)
    x.copy_(torch.randn_like(x))
    graph.replay()
    expected, _ = torch.ops.gancli.maxout(x, weight, bias)
    assert torch.equal(y, expected)


def output_and_gradients(x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    y = maxout(x, weight, bias, backend="native")
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), (x, weight, bias))]


def assert_shorter(found: list[Tensor], exact: list[Tensor], least: float) -> None:
    """Relative to the norm; in gradients more, since close pieces change places."""
    for number, (a, b) in enumerate(zip(found, exact, strict=True)):
        share = float((a.float() - b).norm() / b.norm())
        assert 0 < share < 4 * least * (1 if number == 0 else 20)


SHAPES = [pytest.param((100, 784, 240, 5), id="small"), pytest.param((1000, 300, 500, 5), id="large")]


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES)
def test_maxout_on_a_gpu_runs_in_bfloat16_under_autocast(gpu: torch.device, shape: tuple[int, int, int, int]) -> None:
    tensors = layer(*shape)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = output_and_gradients(*tensors)
    assert [t.dtype for t in found] == [torch.bfloat16, *[torch.float32] * 3]
    assert_shorter(found, output_and_gradients(*tensors), 2**-8)


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES)
def test_maxout_on_a_gpu_runs_in_tf32_where_torch_allows_it(
    gpu: torch.device, tf32: None, shape: tuple[int, int, int, int]
) -> None:
    tensors = layer(*shape)
    found = output_and_gradients(*tensors)
    with full_precision(gpu):
        exact = output_and_gradients(*tensors)
    assert_shorter(found, exact, 2**-11)
