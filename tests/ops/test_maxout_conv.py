"""The maxout convolution: each route against plain loops and float64, the CUDA kernels in emulation and on a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gancli.errors import InputError, UsageError
from gancli.ops import gradients, maxout_conv2d, maxout_conv2d_reference, maxout_pool, native

# (batch, in, height, width, channels, pieces, kernel, pad, pool, stride): cifar10-conv's first layer, then corners
CASES = [
    (4, 3, 32, 32, 6, 2, 8, 4, 4, 2),
    (2, 1, 9, 7, 3, 3, 3, 0, 2, 2),
    (1, 2, 5, 5, 1, 1, 1, 0, 5, 1),
    (3, 2, 8, 11, 2, 5, 3, 1, 3, 1),
]
# One less, exactly and one more than vectors (4, 8, 16), tiles (4, 6, 14 positions) and slabs (128) of each instruction
# set; windows that leave gaps, overlap and reach over the edge; kernels larger than the image.
EDGES = [
    *((2, 2, 6, width, 3, 2, 3, 1, 2, 2) for width in (1, 3, 4, 5, 6, 7, 13, 14, 15, 29)),
    *((1, 2, 5, 6, channels, 2, 3, 1, 2, 2) for channels in (1, 4, 7, 8, 9, 15, 16, 17, 33, 60)),
    *((2, 1, 5, 4, 5, pieces, 2, 0, 2, 1) for pieces in (1, 2, 3, 4, 5, 64)),
    *((2, inputs, 6, 5, 4, 2, 3, 1, 3, 2) for inputs in (3, 14, 15, 16, 17, 33)),
    *(
        (3, 3, side, side, 4, 3, kernel, pad, 1, 1)
        for side, kernel, pad in ((4, 1, 0), (2, 5, 2), (1, 3, 1), (20, 12, 0))
    ),
    *(
        (2, 2, 9, 10, 3, 2, 2, 0, pool, stride)
        for pool, stride in ((1, 2), (1, 3), (2, 3), (3, 1), (4, 2), (9, 9), (11, 5))
    ),
    (1, 1, 135, 132, 2, 2, 130, 0, 4, 3),
    (70, 1, 4, 4, 2, 2, 3, 1, 2, 2),
]
Layer = tuple[Tensor, Tensor, Tensor]
# Largest error allowed against float64, in units of Σ|terms| of the sum that makes the entry: see test_maxout.py.
TOLERANCE = 1e-6


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
def test_the_layer_is_its_formula(route, case: tuple[int, ...]) -> None:
    (x, weight, bias), settings = made(case)
    y = maxout_conv2d(x, weight, bias, **settings, backend=route.backend)
    z = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), padding=settings["pad"])
    pieces, pool, stride = settings["pieces"], settings["pool"], settings["stride"]
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            window = z[:, :, row * stride : row * stride + pool, column * stride : column * stride + pool]
            best = window.amax(dim=(2, 3)).unflatten(1, (-1, pieces)).amax(dim=2)
            torch.testing.assert_close(y[:, :, row, column].double(), best, rtol=1e-4, atol=1e-4)


def assert_near(name: str, actual: Tensor, expected: Tensor, scale: Tensor) -> None:
    assert actual.shape == expected.shape, name
    excess = (actual.detach().double() - expected).abs() / (TOLERANCE * scale + 1e-30)
    assert excess.max() <= 1, f"{name} is {excess.max():.1f} times off"


@pytest.mark.parametrize("case", [*CASES, *EDGES])
def test_it_agrees_with_float64(route, case: tuple[int, ...]) -> None:
    """Forward, and backward through the winners of the float64 layer alone: where two are closer than the tolerance,
    the cotangent is 0, so that either may win."""
    tensors, settings = made(case)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    pieces, pad, pool, stride = (settings[name] for name in ("pieces", "pad", "pool", "stride"))
    z = torch.nn.functional.conv2d(*exact, padding=pad)
    best = z.unflatten(1, (-1, pieces)).max(dim=2).values
    expected = torch.nn.functional.max_pool2d(best, pool, stride, ceil_mode=True)
    size = torch.nn.functional.conv2d(*(t.detach().abs() for t in exact), padding=pad)
    size = torch.nn.functional.max_pool2d(size.unflatten(1, (-1, pieces)).amax(dim=2), pool, stride, ceil_mode=True)
    y = maxout_conv2d(*tensors, **settings, backend=route.backend)
    assert y.dtype == torch.float32
    assert_near("y", y, expected.detach(), size)

    # How many candidates of each window come within the tolerance of the best: one, where it is decided.
    over = torch.nn.functional.pad(z.detach(), (0, pool, 0, pool), value=-torch.inf)
    rows, columns = ([slice(i * stride, i * stride + pool) for i in range(side)] for side in y.shape[2:])
    windows = torch.stack([torch.stack([over[:, :, r, c].flatten(2) for c in columns], 2) for r in rows], 2)
    candidates = windows.unflatten(1, (-1, pieces)).transpose(2, 3).transpose(3, 4).flatten(4)
    decided = (candidates >= (expected.detach() - 2 * TOLERANCE * size)[..., None]).sum(dim=-1) == 1
    assert decided.double().mean() > 0.99
    v_y = torch.randn_like(y) * decided
    found = torch.autograd.grad(y, tensors, v_y)
    truth = torch.autograd.grad(expected, exact, v_y.double(), retain_graph=True)
    # Σ|terms| of each gradient: that of a layer with the same winners and nothing negative.
    v_z = torch.autograd.grad(expected, z, v_y.double().abs())[0]
    absolute = [t.detach().abs().requires_grad_() for t in exact]
    scales = torch.autograd.grad(torch.nn.functional.conv2d(*absolute, padding=pad), absolute, v_z)
    for name, actual, exactly, scale in zip(("v_x", "v_weight", "v_bias"), found, truth, scales, strict=True):
        assert_near(name, actual, exactly, scale)


def test_two_pieces_over_windows_by_hand(route) -> None:
    """A kernel of 1 with weights 1 and −1: the best piece is |x|. Windows of 2 × 2, the last ones over the edge."""
    x = torch.tensor([[1.0, -5.0, 2.0], [3.0, 4.0, -2.0], [-7.0, 0.0, 6.0]])[None, None].requires_grad_()
    weight = torch.tensor([1.0, -1.0])[:, None, None, None].requires_grad_()
    bias = torch.zeros(2, requires_grad=True)
    y = maxout_conv2d(x, weight, bias, pieces=2, pad=0, pool=2, stride=2, backend=route.backend)
    assert y.tolist() == [[[[5.0, 2.0], [7.0, 6.0]]]]
    v_y = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    v_x, v_weight, v_bias = torch.autograd.grad(y, (x, weight, bias), v_y)
    assert v_x.tolist() == [[[[0.0, -1.0, 10.0], [0.0, 0.0, 0.0], [-100.0, 0.0, 1000.0]]]]
    assert v_weight.flatten().tolist() == [2 * 10.0 + 6 * 1000.0, -5 * 1.0 - 7 * 100.0]
    assert v_bias.tolist() == [1010.0, 101.0]


def test_a_tie_goes_to_the_first_position_and_there_to_the_lowest_piece(route) -> None:
    x = torch.tensor([[2.0, 1.0, 3.0], [3.0, 3.0, 0.0], [1.0, 1.0, 3.0]])[None, None].requires_grad_()
    weight = torch.tensor([1.0, 1.0, 1.0])[:, None, None, None].requires_grad_()
    bias = torch.tensor([-1.0, 0.0, 0.0], requires_grad=True)  # pieces 1 and 2 tie everywhere
    y = maxout_conv2d(x, weight, bias, pieces=3, pad=0, pool=2, stride=1, backend=route.backend)
    assert y.tolist() == [[[[3.0, 3.0], [3.0, 3.0]]]]
    v_x, v_bias = torch.autograd.grad(y, (x, bias), torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]))
    # The upper left window's first 3 is the one below its corner, the upper right's lies beside it, and so on.
    assert v_x.tolist() == [[[[0.0, 0.0, 10.0], [101.0, 1000.0, 0.0], [0.0, 0.0, 0.0]]]]
    assert v_bias.tolist() == [0.0, 1111.0, 0.0]


def test_a_nan_reaches_every_window_that_holds_it(route) -> None:
    (x, weight, bias), settings = made((2, 2, 6, 6, 3, 2, 1, 0, 2, 1))
    with torch.no_grad():
        x[1, 0, 2, 3] = torch.nan
        y = maxout_conv2d(x, weight, bias, **settings, backend=route.backend)
    touched = torch.zeros(2, 3, 5, 5, dtype=torch.bool)
    touched[1, :, 1:3, 2:4] = True
    assert torch.equal(y.isnan(), touched)


def test_padding_does_not_win_where_all_is_negative(route) -> None:
    x, weight, bias = torch.ones(1, 2, 5, 5), torch.full((34, 2, 3, 3), -1.0), torch.full((34,), -2.0)
    y = maxout_conv2d(x, weight, bias, pieces=2, pad=0, pool=2, stride=2, backend=route.backend)
    assert torch.equal(y, torch.full((1, 17, 2, 2), -20.0))


def test_images_without_cotangent_contribute_nothing(native_route) -> None:
    """Not even where x is infinite."""
    (x, weight, bias), settings = made((6, 2, 7, 7, 5, 2, 3, 1, 2, 2))
    with torch.no_grad():
        x[4] = torch.inf
    y = maxout_conv2d(x, weight, bias, **settings, backend="native")
    v_y = torch.randn_like(y)
    v_y[[0, 1, 4]] = 0
    found = torch.autograd.grad(y, (x, weight, bias), v_y)
    kept = [2, 3, 5]
    y = maxout_conv2d(x[kept], weight, bias, **settings, backend="torch")
    expected = torch.autograd.grad(y, (x, weight, bias), v_y[kept])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert not found[0][[0, 1, 4]].any()
    nothing = torch.autograd.grad(
        maxout_conv2d(x, weight, bias, **settings, backend="native"), (x, weight, bias), torch.zeros_like(v_y)
    )
    assert not any(gradient.any() for gradient in nothing)


@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_change_a_bit(native_route, threads: int) -> None:
    before = torch.get_num_threads()
    tensors, settings = made((71, 3, 9, 9, 17, 2, 3, 1, 2, 2))
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            y = maxout_conv2d(*tensors, **settings, backend="native")
            results.append([y, *torch.autograd.grad(y, tensors, torch.ones_like(y))])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_only_the_gradients_that_are_needed_are_computed(native_route, wanted: tuple[int, ...]) -> None:
    tensors, settings = made(CASES[1])
    inputs = [t.detach() for t in tensors]
    y, index = torch.ops.gancli.maxout_conv2d(*inputs, **settings)
    v_y = torch.randn_like(y)
    everything = torch.ops.gancli.maxout_conv2d_backward(v_y, index, *inputs[:2], [True] * 3, *settings.values())
    needs = [n in wanted for n in range(3)]
    some = torch.ops.gancli.maxout_conv2d_backward(v_y, index, *inputs[:2], needs, *settings.values())
    assert len(some) == len(wanted)
    assert all(torch.equal(a, everything[n]) for a, n in zip(some, wanted, strict=True))
    for n in wanted:
        inputs[n].requires_grad_()
    y = maxout_conv2d(*inputs, **settings, backend="native")
    found = torch.autograd.grad(y, [inputs[n] for n in wanted], v_y)
    assert all(torch.equal(a, everything[n]) for a, n in zip(found, wanted, strict=True))


def test_gradients_of_one_leaf_skip_the_others_and_reuse_the_old_one(
    native_route, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["gancli.ops.maxout_conv"]
    original, asked = module._backward, []

    def spy(*arguments: object) -> object:
        asked.append(arguments[4])
        return original(*arguments)

    monkeypatch.setattr(module, "_backward", spy)
    (x, weight, bias), settings = made(CASES[1])
    loss = maxout_conv2d(x, weight, bias, **settings, backend="native").sum()
    weight.grad = old = torch.full_like(weight, torch.nan)
    (fresh,) = gradients(loss, [weight], retain_graph=True)
    (reused,) = gradients(loss, [weight], retain_graph=True, reuse=True)
    assert reused.data_ptr() == old.data_ptr()
    assert torch.equal(reused, fresh)
    gradients(loss, [x])
    assert asked == [[False, True, False]] * 2 + [[True, False, False]]


def test_non_contiguous_inputs_and_cotangents(route) -> None:
    (x, weight, bias), settings = made((3, 4, 6, 7, 5, 2, 3, 1, 2, 2))
    strided = [
        t.detach().flip(0).permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim())))
        for t in (x, weight, bias)
    ]
    leaves = [t.requires_grad_() for t in strided]
    copies = [t.detach().contiguous().requires_grad_() for t in strided]
    found = torch.autograd.grad(maxout_conv2d(*leaves, **settings, backend=route.backend).sum(), leaves)
    y = maxout_conv2d(*copies, **settings, backend=route.backend)
    for a, b in zip(found, torch.autograd.grad(y, copies, torch.ones_like(y)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_native_path_differentiates_once(native_route) -> None:
    (x, weight, bias), settings = made(CASES[1])
    y = maxout_conv2d(x, weight, bias, **settings, backend="native")
    (v_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        v_x.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck itself, torch 2.15
def test_torch_knows_the_operators() -> None:
    if native.load("_cpu")[0] is None:
        pytest.skip("no native module: there is nothing behind the operators")
    (x, weight, bias), settings = made((2, 2, 5, 6, 3, 2, 3, 1, 2, 2))
    values = tuple(settings.values())
    torch.library.opcheck(torch.ops.gancli.maxout_conv2d.default, (x, weight, bias, *values))
    y, index = torch.ops.gancli.maxout_conv2d(x, weight, bias, *values)
    for needs in ([True, True, True], [True, False, True], [False, True, False]):
        torch.library.opcheck(
            torch.ops.gancli.maxout_conv2d_backward.default,
            (torch.randn_like(y), index, x.detach(), weight.detach(), needs, *values),
        )


@pytest.mark.parametrize(
    ("case", "own"),
    [
        (CASES[0], True),
        ((1, 64, 6, 6, 64, 2, 3, 0, 2, 2), True),
        ((1, 2, 6, 6, 4, 2, 3, 1, 1, 1), False),  # half of the convolution's result has a gradient
        ((1, 256, 4, 4, 256, 2, 3, 1, 2, 2), False),  # 16 positions for 1.2 million weights
    ],
)
def test_auto_takes_the_native_path_where_it_pays(native_route, case: tuple[int, ...], own: bool) -> None:
    tensors, settings = made(case)
    for backend, expected in (("auto", own), ("native", True), ("torch", False)):
        y = maxout_conv2d(*tensors, **settings, backend=backend)
        assert ("MaxoutConv" in y.grad_fn.name()) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch, of Python 3.13.0 alone
def test_it_compiles_without_a_graph_break() -> None:
    if native.load("_cpu")[0] is None:
        pytest.skip("no native module: torch.compile sees only torch's own operators")
    tensors, settings = made(CASES[1])

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return maxout_conv2d(x, weight, bias, **settings).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*tensors), tensors)
    for a, b in zip(found, torch.autograd.grad(loss(*tensors), tensors), strict=True):
        torch.testing.assert_close(a, b)


def test_native_refuses_what_it_cannot_do_and_auto_leaves_it_to_torch(native_route) -> None:
    (x, weight, bias), settings = made(CASES[1])
    for tensors, changes in (
        ([t.double() for t in (x, weight, bias)], {}),
        ((x, weight, bias), {"pool": 10, "stride": 10, "pad": 3}),  # 300 candidates
        ((x, weight[:, :, :, :2], bias), {}),
    ):
        with pytest.raises(UsageError, match=r"float32 outside autocast and torch\.func, with at most 256"):
            maxout_conv2d(*tensors, **{**settings, **changes}, backend="native")
        expected = maxout_conv2d_reference(*tensors, **{**settings, **changes})
        torch.testing.assert_close(maxout_conv2d(*tensors, **{**settings, **changes}), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert maxout_conv2d(x, weight, bias, **settings).dtype == torch.bfloat16
    for backend in ("auto", "torch"):
        with pytest.raises(RuntimeError, match="Output size is too small"):
            maxout_conv2d(x, weight, bias, **{**settings, "pool": 9, "stride": 1}, backend=backend)
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            maxout_conv2d(x, torch.zeros(9, 1, 8, 8), bias, **settings, backend=backend)
    assert maxout_conv2d(x[:0], weight, bias, **settings).shape == (0, 3, 4, 3)


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
def test_on_a_gpu_it_agrees_with_float64(
    cuda: torch.device, case: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where candidates are equal up to rounding either may win: so a few gradients may differ, not many."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # of whose 11 bits more candidates are equal
    tensors, settings = made(case, cuda)
    y = maxout_conv2d(*tensors, **settings, backend="native")
    exact = [t.detach().double().requires_grad_() for t in tensors]
    expected = maxout_conv2d(*exact, **settings)
    v_y = torch.randn_like(y)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
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
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck itself, torch 2.15
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
