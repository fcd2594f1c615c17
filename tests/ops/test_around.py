"""What torch does around the operations: fakes, torch.func, autocast, graphs that were exported or know no sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gancli.errors import InputError, UsageError
from gancli.ops import dense, dropout, gradients, maxout, maxout_conv2d, native, parzen_log_sum_exp
from gancli.ops.distances import (
    count_in_balls,
    count_in_balls_reference,
    nearest_squared_distances,
    nearest_squared_distances_reference,
)

CONV = {"pieces": 2, "pad": 1, "pool": 2, "stride": 2}


def made(kind: str) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return a layer with its settings filled in, and its x, weight and bias."""
    shapes = {
        "maxout": ((64, 9), (40, 2, 9), (40, 2)),
        "dense": ((64, 9), (40, 9), (40,)),
        "maxout_conv2d": ((3, 4, 8, 8), (6, 4, 3, 3), (6,)),
    }[kind]
    layers = {"maxout": maxout, "dense": dense, "maxout_conv2d": lambda *t, **b: maxout_conv2d(*t, **CONV, **b)}
    return layers[kind], [torch.randn(shape) for shape in shapes]


LAYERS = pytest.mark.parametrize("kind", ["maxout", "dense", "maxout_conv2d"])


@pytest.fixture(autouse=True)
def _native_module() -> None:
    if native.load("_cpu")[0] is None:
        pytest.skip("no native module: all of this is torch's own")


@LAYERS
def test_fakes_have_the_shape_and_no_kernel_sees_them(kind: str) -> None:
    layer, tensors = made(kind)
    expected = layer(*tensors)
    with FakeTensorMode() as mode:
        inside = layer(*(torch.empty(tensor.shape) for tensor in tensors))
        outside = layer(*map(mode.from_tensor, tensors))
        dropped = dropout(torch.empty(5, 7), 0.5)
    assert inside.shape == outside.shape == expected.shape
    assert dropped.shape == (5, 7)


@LAYERS
def test_torch_func_is_served_by_torch(kind: str) -> None:
    layer, (x, weight, bias) = made(kind)
    found = torch.func.grad(lambda w: layer(x, w, bias).square().sum())(weight)
    expected = torch.autograd.grad(layer(x, weight.requires_grad_(), bias, backend="torch").square().sum(), weight)[0]
    torch.testing.assert_close(found, expected)
    together = torch.func.vmap(lambda one: layer(one[None], weight.detach(), bias)[0])(x)
    torch.testing.assert_close(together, layer(x, weight.detach(), bias, backend="torch"))
    with pytest.raises(UsageError, match=r"torch\.func"):
        torch.func.grad(lambda w: layer(x, w, bias, backend="native").sum())(weight.detach())


def test_torch_func_drops_out() -> None:
    found = torch.func.grad(lambda x: dropout(x, 0.5).sum())(torch.ones(1000))
    assert set(found.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("which", [0, 1])
@LAYERS
def test_gradients_reach_what_comes_transposed(kind: str, which: int) -> None:
    layer, tensors = made(kind)
    leaf = tensors[which].transpose(0, 1).contiguous().requires_grad_()

    def loss(view: Tensor) -> Tensor:
        arguments = [view.transpose(0, 1) if n == which else tensor for n, tensor in enumerate(tensors)]
        return layer(*arguments).square().sum() + view.sum()

    torch.testing.assert_close(gradients(loss(leaf), [leaf]), torch.autograd.grad(loss(leaf), leaf))
    between = leaf * 1.0  # not a leaf, on the way to one
    expected = torch.autograd.grad(loss(leaf * 1.0), leaf)
    torch.testing.assert_close(gradients(loss(between), [leaf]), expected)


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, (_, weight, bias) = made(kind)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, self.weight, self.bias)


@pytest.mark.parametrize("kind", ["maxout", "maxout_conv2d"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_an_exported_graph_refuses_other_dtypes_and_serves_autocast(kind: str) -> None:
    net, x = Net(kind), made(kind)[1][0]
    graph = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(graph(x), net(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = graph(x.bfloat16()), net(x.bfloat16())
    torch.testing.assert_close(found.float(), expected.float(), rtol=0.02, atol=0.05)  # 8 bits of 36 terms
    with pytest.raises(InputError, match=r"computes in float32, x is torch\.float64"):
        graph.double()(x.double())


def test_the_operators_refuse_shapes_that_do_not_fit() -> None:
    _, (x, weight, bias) = made("maxout")
    with pytest.raises(InputError, match="x has 2 inputs"):
        torch.ops.gancli.maxout(x[:, :2], weight, bias)
    v_y, index = torch.ones(64, 40), torch.zeros(64, 40, dtype=torch.uint8)
    with pytest.raises(InputError, match="v_y, index must have one shape"):
        torch.ops.gancli.maxout_backward(v_y, index[:5], x, weight, [True] * 3)
    with pytest.raises(InputError, match="float32, x is"):
        torch.ops.gancli.parzen_log_sum_exp(x.double(), x.double(), torch.ones(1, dtype=torch.float64))
    with pytest.raises(InputError, match="same width d"):
        torch.ops.gancli.parzen_log_sum_exp(x, x[:, :4], torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["maxout", "maxout_conv2d"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch, of Python 3.13.0 alone
def test_one_compilation_serves_batches_of_all_sizes(kind: str) -> None:
    layer, (x, weight, bias) = made(kind)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3):
        torch.testing.assert_close(compiled(x[:batch], weight, bias), layer(x[:batch], weight, bias))


def test_results_that_are_exact_stay_so_under_autocast() -> None:
    x, y = torch.rand(60, 64), torch.rand(300, 64)
    radii = nearest_squared_distances_reference(y, y, 1, exclude_self=True)[:, 0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        counts, distances = count_in_balls(x, y, radii), nearest_squared_distances(x, y, 3)
        log_sums = {backend: parzen_log_sum_exp(x, y, [0.5], backend=backend) for backend in ("torch", "native")}
        _, (double, weight, bias) = made("maxout")
        wide = maxout(double.double(), weight.double(), bias.double())
    assert torch.equal(counts, count_in_balls_reference(x, y, radii))
    torch.testing.assert_close(distances, nearest_squared_distances_reference(x, y, 3), rtol=1e-12, atol=0)
    torch.testing.assert_close(log_sums["torch"], log_sums["native"], rtol=0, atol=1e-4)
    assert wide.dtype == torch.float64
