"""The fully connected layer on every route, in both of its backward products: dense and by lists of non-zeros."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gancli.errors import InputError, UsageError
from gancli.ops import dense, dense_reference, gradients, native


def layer(batch: int, inputs: int, units: int) -> list[Tensor]:
    return [torch.randn(shape).requires_grad_() for shape in ((batch, inputs), (units, inputs), (units,))]


def check(x: Tensor, weight: Tensor, bias: Tensor, activation: str, backend: str, v_y: Tensor | None = None) -> None:
    y = dense(x, weight, bias, activation, backend=backend)
    v_y = torch.randn_like(y) if v_y is None else v_y
    found = torch.autograd.grad(y, (x, weight, bias), v_y)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected = dense_reference(*exact, activation)
    # A value of relu's that rounding moved over zero would be one gradient more or less.
    if activation == "relu":
        assert (F.linear(*exact).abs() > 1e-5).all(), "choose another seed"
    for name, a, b in zip(
        ("y", "v_x", "v_weight", "v_bias"),
        (y, *found),
        (expected, *torch.autograd.grad(expected, exact, v_y.double())),
        strict=True,
    ):
        # Sums of up to 800 products of unit variance in float32.
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=5e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh"])
def test_dense_agrees_with_float64(route, activation: str) -> None:
    check(*layer(33, 20, 35), activation, route.backend)


# The edges of vectors, tiles (rows 4, 6, 14; lanes 8, 16, 32; 12 tiles at a time), slabs (128) and panels (100).
EDGES = [
    *((batch, 5, 6) for batch in (1, 13, 14, 15, 27, 29, 100, 127, 129, 170, 260)),
    *((5, inputs, 6) for inputs in (1, 15, 16, 17, 31, 33, 385, 400)),
    *((5, 6, units) for units in (1, 13, 15, 28, 29, 127, 128, 129, 300)),
    (100, 130, 97),
]


@pytest.mark.parametrize("density", [1.0, 0.3], ids=["dense", "lists"])
@pytest.mark.parametrize(("batch", "inputs", "units"), EDGES)
def test_both_backward_products_agree_with_float64(
    native_route, batch: int, inputs: int, units: int, density: float
) -> None:
    v_y = torch.randn(batch, units) * (torch.rand(batch, units) <= density)
    check(*layer(batch, inputs, units), "linear", "native", v_y)


@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_change_a_bit(native_route, threads: int, density: float) -> None:
    before = torch.get_num_threads()
    x, weight, bias = layer(111, 130, 61)
    v_y = torch.randn(111, 61) * (torch.rand(111, 61) <= density)
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            y = dense(x, weight, bias, backend="native")
            results.append([y, *torch.autograd.grad(y, (x, weight, bias), v_y)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_gradients_one_at_a_time(native_route, wanted: int) -> None:
    inputs = layer(17, 9, 33)
    v_y = torch.randn(17, 33)
    everything = torch.autograd.grad(dense(*inputs, "relu", backend="native"), inputs, v_y)
    alone = [t.detach().requires_grad_(n == wanted) for n, t in enumerate(inputs)]
    (found,) = torch.autograd.grad(dense(*alone, "relu", backend="native"), alone[wanted], v_y)
    assert torch.equal(found, everything[wanted])


@pytest.mark.parametrize(("batch", "inputs", "units"), [(0, 3, 2), (4, 0, 2), (4, 3, 0)])
def test_empty_layers(route, batch: int, inputs: int, units: int) -> None:
    inputs_ = layer(batch, inputs, units)
    y = dense(*inputs_, "relu", backend=route.backend)
    assert torch.equal(y, dense_reference(*inputs_, "relu"))
    found = torch.autograd.grad(y.sum(), inputs_)
    expected = torch.autograd.grad(dense_reference(*inputs_, "relu").sum(), inputs_)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("own_products", [False, True])
def test_auto_computes_alike_with_either_product(
    native_route, monkeypatch: pytest.MonkeyPatch, own_products: bool, activation: str
) -> None:
    called: list[str] = []
    module = sys.modules["gancli.ops.dense"]  # the name in the package is the function
    for name in ("_product_natively", "_gradients_natively"):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=original, n=name: (called.append(n), f(*a))[1])
    monkeypatch.setattr(native, "torch_multiplies_fast", lambda: not own_products)
    check(*layer(21, 19, 40), activation, "auto")
    assert called == (["_product_natively", "_gradients_natively"] if own_products else [])


@pytest.mark.parametrize(("share", "by_lists"), [(0.2, True), (0.6, False)])
def test_a_cotangent_of_few_non_zeros_goes_through_lists(
    native_route, monkeypatch: pytest.MonkeyPatch, share: float, by_lists: bool
) -> None:
    called: list[str] = []
    module = sys.modules["gancli.ops.dense"]
    original = module._gradients_natively
    monkeypatch.setattr(module, "_gradients_natively", lambda *a: (called.append("lists"), original(*a))[1])
    monkeypatch.setattr(native, "torch_multiplies_fast", lambda: True)
    x, weight, bias = layer(50, 19, 40)
    with torch.no_grad():
        bias[int(40 * share) :] = -100.0  # these units never pass relu, the others always do
        bias[: int(40 * share)] = 100.0
    check(x, weight, bias, "relu", "auto")
    assert called == (["lists"] if by_lists else [])


def test_auto_leaves_narrow_layers_to_torch() -> None:
    assert type(dense(*layer(8, 9, 31)).grad_fn).__name__ == "AddmmBackward0"
    assert type(dense(*layer(8, 9, 40), backend="torch").grad_fn).__name__ == "AddmmBackward0"


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_gradients_write_over_the_old_ones_where_told_so(native_route, backend: str) -> None:
    x, weight, bias = layer(20, 30, 40)
    loss = dense(x, weight, bias, "relu", backend=backend).sum()
    (expected,) = gradients(loss, [weight], retain_graph=True)
    weight.grad = torch.full_like(weight, torch.nan)
    (found,) = gradients(loss, [weight], reuse=True)
    assert found.data_ptr() == weight.grad.data_ptr()
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("shapes", "activation", "message"),
    [
        (((5,), (2, 5), (2,)), "relu", r"x must have shape \(batch, in\)"),
        (((4, 5), (2, 6), (2,)), "relu", "x has 5 inputs, weight .* expects 6"),
        (((4, 5), (2, 5), (3,)), "relu", r"bias must have shape \(2,\)"),
        (((4, 5), (2, 5), (2,)), "gelu", "activation must be one of linear, relu"),
    ],
)
def test_what_does_not_fit_is_named(shapes: tuple[tuple[int, ...], ...], activation: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dense(*(torch.zeros(shape) for shape in shapes), activation)


def test_native_refuses_double(native_route) -> None:
    with pytest.raises(UsageError, match="computes in float32"):
        dense(*(t.double() for t in layer(2, 3, 4)), backend="native")
