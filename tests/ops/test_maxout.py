"""The maxout layer on every route: hand-worked tables, float64, ties, identities, and the operators torch knows."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch
from torch import Tensor

from gancli.errors import InputError, UsageError
from gancli.ops import gradients, maxout, maxout_reference, native

# Largest error allowed against float64, in units of Σ|terms| of the sum that makes the entry, so that it does not
# depend on the data. A float32 sum of n terms may be off by n·2⁻²⁴ = n·6e-8 in the worst case; these sums are cut into
# slabs of 128, panels of 100 or MKL's blocks, and errors of random sign grow with the root: 2.5e-7 is the worst seen.
TOLERANCE = 1e-6


def layer(batch: int, inputs: int, units: int, pieces: int, *, requires_grad: bool = True) -> list[Tensor]:
    shapes = ((batch, inputs), (units, pieces, inputs), (units, pieces))
    return [torch.randn(shape).requires_grad_(requires_grad) for shape in shapes]


def assert_near(name: str, actual: Tensor, expected: Tensor, scale: Tensor) -> None:
    assert actual.shape == expected.shape, name
    excess = (actual.double() - expected).abs() / (TOLERANCE * scale + 1e-30)
    if excess.numel() and not excess.max() <= 1:
        at = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
        pytest.fail(f"{name}{at}: expected {expected[at].item()}, got {actual[at].item()}, {excess[at]:.1f} times off")


def check(x: Tensor, weight: Tensor, bias: Tensor, backend: str) -> None:
    """Forward and, through one random cotangent, backward against explicit sums in float64."""
    y = maxout(x, weight, bias, backend=backend)
    assert y.dtype == torch.float32
    v_y = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, weight, bias), v_y)

    x, weight, bias, v_y = (t.detach().double() for t in (x, weight, bias, v_y))
    z = torch.einsum("bi,upi->bup", x, weight) + bias
    size = torch.einsum("bi,upi->bup", x.abs(), weight.abs()) + bias.abs()
    expected, winner = z.max(dim=2)
    assert_near("y", y.detach(), expected, size.amax(dim=2))
    # Where two pieces lie closer than the tolerance, either may win: their entries leave the comparison.
    if weight.shape[1] > 1:
        gap = z.topk(2, dim=2).values
        v_y = torch.where(gap[..., 0] - gap[..., 1] > 2 * TOLERANCE * size.amax(dim=2), v_y, torch.nan)
        assert not v_y.isnan().any(), "choose another seed: the reference itself is undecided"
    v_z = torch.zeros_like(z).scatter_(2, winner[..., None], v_y[..., None])
    for name, actual, formula, left, right in (
        ("v_x", found[0], "bup,upi->bi", v_z, weight),
        ("v_weight", found[1], "bup,bi->upi", v_z, x),
        ("v_bias", found[2], "bup,b->up", v_z, torch.ones(len(x), dtype=torch.float64)),
    ):
        scale = torch.einsum(formula, left.abs(), right.abs())
        assert_near(name, actual, torch.einsum(formula, left, right), scale)


# ---- hand-worked ----


def test_maxout_of_two_pieces_by_hand(route) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    weight = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, -1.0], [0.5, 2.0]]], requires_grad=True)
    bias = torch.tensor([[0.0, 0.5], [1.0, -1.0]], requires_grad=True)
    y = maxout(x, weight, bias, backend=route.backend)
    # row 0: unit 0 max(1, 2.5); unit 1 max(-2, 3.5).  row 1: unit 0 max(3, -0.5); unit 1 max(-1, -1.5).
    assert y.tolist() == [[2.5, 3.5], [3.0, -1.0]]
    v_x, v_weight, v_bias = torch.autograd.grad(y, (x, weight, bias), torch.tensor([[1.0, 10.0], [100.0, 1000.0]]))
    # Row 0 went through piece 1 of both units, row 1 through piece 0 of both.
    assert v_x.tolist() == [[5.0, 21.0], [-900.0, -1000.0]]
    assert v_weight.tolist() == [[[300.0, -100.0], [1.0, 2.0]], [[3000.0, -1000.0], [10.0, 20.0]]]
    assert v_bias.tolist() == [[100.0, 1.0], [1000.0, 10.0]]


def test_a_tie_goes_to_the_lowest_piece(route) -> None:
    x = torch.ones(2, 3, requires_grad=True)
    weight = torch.tensor([[[-1.0] * 3, [2.0] * 3, [2.0] * 3, [1.0] * 3], [[0.5] * 3] * 4], requires_grad=True)
    bias = torch.tensor([[0.0, 1.0, 1.0, 4.0], [0.0] * 4], requires_grad=True)  # unit 0: -3, 7, 7, 7
    y = maxout(x, weight, bias, backend=route.backend)
    assert y.tolist() == [[7.0, 1.5]] * 2
    assert torch.autograd.grad(y.sum(), bias)[0].tolist() == [[0.0, 2.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]


def test_a_tie_over_the_edge_of_a_tile_goes_to_the_lowest_piece(native_route) -> None:
    x, weight, bias = torch.ones(5, 2), torch.ones(3, 40, 2), torch.zeros(3, 40)
    _, index = torch.ops.gancli.maxout(x, weight, bias)
    assert index.tolist() == [[0] * 3] * 5
    bias[1, 17:] = 1.0  # 40 pieces take several tiles on any instruction set
    bias[2, 39] = 1.0
    _, index = torch.ops.gancli.maxout(x, weight, bias)
    assert index.tolist() == [[0, 17, 39]] * 5


def test_pieces_that_are_all_negative_keep_their_maximum(route) -> None:
    x, weight, bias = torch.ones(3, 20), torch.full((17, 5, 20), -1.0), torch.full((17, 5), -2.0)
    bias[:, 3] = -1.0
    y = maxout(x, weight, bias, backend=route.backend)
    assert torch.equal(y, torch.full((3, 17), -21.0))  # padding with zeros would give 0


def test_a_nan_reaches_the_output(route) -> None:
    x, weight, bias = layer(3, 4, 5, 3, requires_grad=False)
    weight[2, 1, 0] = torch.nan
    y = maxout(x, weight, bias, backend=route.backend)
    assert y[:, 2].isnan().all()
    assert not y[:, [0, 1, 3, 4]].isnan().any()
    assert torch.equal(maxout_reference(x, weight, bias).isnan(), y.isnan())


# ---- against float64 ----

# One less, exactly and one more than vectors (4, 8, 16), tiles (rows 4, 6, 14; lanes 8, 16, 32), slabs (128) and panels
# (100) of each instruction set; more pieces than a tile has rows; more rows than one block of the batch.
EDGES = [
    *((batch, 5, 3, 2) for batch in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 99, 100, 101, 201)),
    *((5, inputs, 3, 2) for inputs in (1, 4, 15, 16, 17, 95, 96, 97, 127, 128, 129, 257)),
    *((6, 7, units, 3) for units in (1, 2, 15, 16, 17, 31, 33, 34, 35)),
    *((9, 11, 2, pieces) for pieces in (1, 3, 4, 5, 6, 7, 13, 14, 15, 29, 101, 256)),
    (401, 33, 17, 5),
    (100, 784, 24, 5),
    (2, 3, 260, 1),
]


@pytest.mark.parametrize(("batch", "inputs", "units", "pieces"), EDGES)
def test_maxout_agrees_with_float64_at_the_edges_of_tiles(
    route, batch: int, inputs: int, units: int, pieces: int
) -> None:
    check(*layer(batch, inputs, units, pieces), route.backend)


def test_one_piece_is_its_linear_map(route) -> None:
    x, weight, bias = layer(33, 20, 17, 1, requires_grad=False)
    y = maxout(x, weight, bias, backend=route.backend)
    torch.testing.assert_close(y, torch.addmm(bias[:, 0], x, weight[:, 0].T))


def test_the_reference_agrees_with_the_torch_path_in_double() -> None:
    x, weight, bias = (t.detach().double() for t in layer(9, 11, 4, 3))
    torch.testing.assert_close(maxout(x, weight, bias), maxout_reference(x, weight, bias), rtol=1e-13, atol=1e-13)


def test_gradients_in_double_pass_gradcheck_away_from_ties() -> None:
    inputs = [t.detach().double().requires_grad_() for t in layer(3, 4, 2, 3)]
    z = torch.einsum("bi,upi->bup", inputs[0], inputs[1]) + inputs[2]
    top = z.topk(2, dim=2).values
    assert (top[..., 0] - top[..., 1]).min() > 1e-3  # a difference quotient must not cross a tie
    assert torch.autograd.gradcheck(maxout, inputs)


def test_non_contiguous_inputs_and_cotangents(route) -> None:
    x = torch.randn(20, 26)[::2, ::2].requires_grad_()
    weight = torch.randn(13, 3, 10).permute(2, 1, 0).requires_grad_()
    bias = torch.randn(3, 10).T.requires_grad_()
    check(x, weight, bias, route.backend)
    y = maxout(x, weight, bias, backend=route.backend)
    found = torch.autograd.grad(y.sum(), x)[0]  # the cotangent of a sum is one number, all its strides 0
    copies = [t.detach().contiguous().requires_grad_() for t in (x, weight, bias)]
    expected = torch.autograd.grad(maxout(*copies, backend=route.backend), copies[0], torch.ones(10, 10))[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("batch", "inputs", "units"), [(0, 3, 2), (4, 0, 2), (4, 3, 0)])
def test_empty_layers(route, batch: int, inputs: int, units: int) -> None:
    x, weight, bias = layer(batch, inputs, units, 3)
    y = maxout(x, weight, bias, backend=route.backend)
    assert torch.equal(y, maxout_reference(x, weight, bias))
    found = torch.autograd.grad(y.sum(), (x, weight, bias))
    expected = torch.autograd.grad(maxout(x, weight, bias, backend="torch").sum(), (x, weight, bias))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_rows_without_cotangent_cost_their_zeros_only(native_route) -> None:
    x, weight, bias = layer(130, 40, 20, 5)
    v_y = torch.randn(130, 20)
    v_y[:100] = 0
    v_y[110, 3] = 0
    y = maxout(x, weight, bias, backend="native")
    found = torch.autograd.grad(y, (x, weight, bias), v_y)
    part = torch.autograd.grad(maxout(x[100:], weight, bias, backend="torch"), (x, weight, bias), v_y[100:])
    for a, b in zip(found, part, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0][:100], torch.zeros(100, 40))


# ---- what is asked for, and by whom ----


@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_change_a_bit(native_route, threads: int) -> None:
    before = torch.get_num_threads()
    x, weight, bias = layer(211, 130, 37, 5)
    v_y = torch.randn(211, 37)
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            y = maxout(x, weight, bias, backend="native")
            results.append([y, *torch.autograd.grad(y, (x, weight, bias), v_y)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_the_gradients_that_are_needed_are_computed(native_route, wanted: tuple[int, ...]) -> None:
    inputs = layer(9, 8, 7, 3, requires_grad=False)
    index = torch.ops.gancli.maxout(*inputs)[1]
    v_y = torch.randn(9, 7)
    everything = torch.ops.gancli.maxout_backward(v_y, index, *inputs[:2], [True] * 3)
    some = torch.ops.gancli.maxout_backward(v_y, index, *inputs[:2], [n in wanted for n in range(3)])
    assert len(some) == len(wanted)
    assert all(torch.equal(a, everything[n]) for a, n in zip(some, wanted, strict=True))
    for n in wanted:
        inputs[n].requires_grad_()
    y = maxout(*inputs, backend="native")
    found = torch.autograd.grad(y, [inputs[n] for n in wanted], v_y)
    assert all(torch.equal(a, everything[n]) for a, n in zip(found, wanted, strict=True))


def test_the_native_path_differentiates_once(native_route) -> None:
    x, weight, bias = layer(3, 4, 2, 3)
    y = maxout(x, weight, bias, backend="native")
    (v_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        v_x.sum().backward()


def test_no_graph_is_kept_without_gradients(route) -> None:
    x, weight, bias = layer(3, 4, 2, 3)
    with torch.no_grad():
        assert not maxout(x, weight, bias, backend=route.backend).requires_grad


def test_the_operator_runs_in_float32_under_autocast() -> None:
    x, weight, bias = layer(3, 4, 5, 3)
    halves = x.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = torch.ops.gancli.maxout(halves, weight, bias)
    expected, _ = torch.ops.gancli.maxout(halves.float(), weight, bias)
    assert (y.dtype, torch.equal(y, expected)) == (torch.float32, True)
    found, wanted = (torch.autograd.grad(one.sum(), (halves, weight)) for one in (y, expected))
    assert all(map(torch.equal, found, wanted))


def test_autocast_runs_in_float32(route) -> None:
    x, weight, bias = layer(5, 6, 4, 3, requires_grad=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = maxout(x.bfloat16(), weight, bias, backend=route.backend)
        assert torch.ops.gancli.maxout(x.bfloat16(), weight, bias)[0].dtype == torch.float32
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, maxout_reference(x.bfloat16().float(), weight, bias))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck itself, torch 2.15
def test_torch_knows_the_operators(native_route) -> None:
    x, weight, bias = layer(5, 6, 4, 3)
    torch.library.opcheck(torch.ops.gancli.maxout.default, (x, weight, bias))
    torch.library.opcheck(torch.ops.gancli.maxout.default, (x.detach(), weight, bias.detach()))
    v_y, index = torch.randn(5, 4), torch.randint(0, 3, (5, 4), dtype=torch.uint8)
    for needs in ([True, True, True], [True, False, True], [False, True, False]):
        torch.library.opcheck(
            torch.ops.gancli.maxout_backward.default, (v_y, index, x.detach(), weight.detach(), needs)
        )


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch, of Python 3.13.0 alone
def test_maxout_compiles_without_a_graph_break(compiler: str) -> None:
    if native.load("_cpu")[0] is None:
        pytest.skip("no native module: torch.compile sees only torch's own operators")
    if compiler == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    x, weight, bias = layer(5, 6, 4, 3)

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return maxout(x, weight, bias).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=compiler)
    found = torch.autograd.grad(compiled(x, weight, bias), (x, weight, bias))
    expected = torch.autograd.grad(loss(x, weight, bias), (x, weight, bias))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


# ---- refusals ----


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5,), (2, 3, 5), (2, 3)), r"x must have shape \(batch, in\), got \(5,\)"),
        (((4, 5), (6, 5), (2, 3)), r"weight must have shape \(units, pieces, in\)"),
        (((4, 5), (2, 3, 6), (2, 3)), "x has 5 inputs, weight .* expects 6"),
        (((4, 5), (2, 3, 5), (3, 2)), r"bias must have shape \(2, 3\), got \(3, 2\)"),
        (((4, 5), (2, 0, 5), (2, 0)), "at least one piece"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        maxout(*(torch.zeros(shape) for shape in shapes))


def test_native_refuses_what_it_cannot_do(native_route) -> None:
    x, weight, bias = layer(2, 3, 2, 2)
    with pytest.raises(UsageError, match=r"float32 outside torch\.func with at most 256 pieces, x is torch\.float64"):
        maxout(x.double(), weight.double(), bias.double(), backend="native")
    with pytest.raises(UsageError, match="at most 256 pieces"):
        maxout(x, torch.zeros(1, 257, 3), torch.zeros(1, 257), backend="native")
    assert maxout(x.double(), weight.double(), bias.double()).dtype == torch.float64  # "auto" may choose torch
    with pytest.raises(UsageError, match="backend is 'quick'"):
        maxout(x, weight, bias, backend="quick")


def test_integers_are_refused() -> None:
    with pytest.raises(InputError, match=r"x must be floating point, got torch.int64"):
        maxout(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 2, 3), torch.ones(2, 2))


# ---- gradients(): one player's weights and nothing else ----


def test_gradients_skip_what_nobody_asked_for(native_route, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through two layers, G before D: G's pass needs D's input gradient only, D's pass its weight gradients only."""
    module = sys.modules["gancli.ops.maxout"]
    asked: list[tuple[int, list[bool]]] = []
    original = module._backward

    def spy(v_y: Tensor, index: Tensor, x: Tensor, weight: Tensor, needs: list[bool]) -> object:
        asked.append((weight.shape[2], needs))
        return original(v_y, index, x, weight, needs)

    monkeypatch.setattr(module, "_backward", spy)
    z, *g = layer(6, 3, 5, 2)
    z.requires_grad_(False)
    d = [torch.randn(4, 2, 5).requires_grad_(), torch.randn(4, 2).requires_grad_()]
    loss = maxout(maxout(z, *g, backend="native"), *d, backend="native").sum()
    expected = torch.autograd.grad(loss, [*g, *d], retain_graph=True)
    asked.clear()
    found = [*gradients(loss, g, retain_graph=True), *gradients(loss, d)]
    assert asked == [(5, [True, False, False]), (3, [False, True, True]), (5, [False, True, True])]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_gradients_write_over_the_old_ones_where_told_so(native_route) -> None:
    x, weight, bias = layer(6, 3, 5, 2)
    weight.grad = torch.full_like(weight, torch.nan)
    old = weight.grad
    loss = maxout(x, weight, bias, backend="native").sum()
    (fresh,) = gradients(loss, [weight], retain_graph=True)
    assert fresh is not old
    assert old.isnan().all()
    (reused,) = gradients(loss, [weight], reuse=True)
    assert reused.data_ptr() == old.data_ptr()
    assert torch.equal(reused, fresh)


def test_a_weight_that_occurs_twice_gets_both_contributions(native_route) -> None:
    x, weight, bias = layer(6, 5, 5, 2)
    weight.grad = torch.full_like(weight, torch.nan)
    loss = maxout(maxout(x, weight, bias, backend="native"), weight, bias, backend="native").sum()
    (expected,) = torch.autograd.grad(loss, [weight], retain_graph=True)
    (found,) = gradients(loss, [weight], reuse=True)
    torch.testing.assert_close(found, expected)
