"""The momentum update on every route."""

from __future__ import annotations

import pytest
import torch

from gancli.errors import InputError, UsageError
from gancli.ops import momentum_update, momentum_update_reference


def test_momentum_by_hand(route) -> None:
    parameter, velocity, gradient = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -8.0]), torch.tensor([2.0, 4.0])
    momentum_update([parameter], [velocity], [gradient], lr=0.25, momentum=0.5, backend=route.backend)
    assert velocity.tolist() == [1.5, -5.0]
    assert parameter.tolist() == [2.5, -3.0]
    assert gradient.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 2**14 - 1, 2**14 + 17])
def test_momentum_agrees_with_the_reference(native_route, count: int) -> None:
    tensors = [[torch.randn(count), torch.randn(3, 5)] for _ in range(3)]
    expected = [[t.double() for t in ts] for ts in tensors]
    momentum_update(*tensors, lr=0.1, momentum=0.7, backend="native")
    momentum_update_reference(*expected, lr=0.1, momentum=0.7)
    for a, b in zip(tensors[0] + tensors[1], expected[0] + expected[1], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_gradients_in_parts_add_up(native_route, parts: int) -> None:
    parameter, velocity = torch.randn(3, 700), torch.randn(3, 700)
    gradient = torch.randn(parts, 4, 700)[:, 1:]  # parts that do not follow one another at once
    expected = [parameter.double(), velocity.double()]
    expected[1] = 0.7 * expected[1] - 0.1 * sum(part.double() for part in gradient)
    expected[0] = expected[0] + expected[1]
    for backend in ("native", "torch"):
        found = [parameter.clone(), velocity.clone()]
        momentum_update([found[0]], [found[1]], [gradient], lr=0.1, momentum=0.7, backend=backend)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


def test_a_graph_that_saved_an_updated_weight_is_invalid(route) -> None:
    weight = torch.ones(3, requires_grad=True)
    loss = weight.square().sum()
    momentum_update([weight], [torch.zeros(3)], [torch.ones(3)], lr=0.1, momentum=0.5, backend=route.backend)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_momentum_refuses_strided_tensors_where_native_is_asked_for(native_route) -> None:
    tensors = [[torch.zeros(4, 4).T[:, ::2]] for _ in range(3)]
    momentum_update(*tensors, lr=0.1, momentum=0.5)
    with pytest.raises(UsageError, match="contiguous float32"):
        momentum_update(*tensors, lr=0.1, momentum=0.5, backend="native")


@pytest.mark.parametrize(
    ("velocity", "gradient"), [((3,), (8,)), ((8,), (3,)), ((8,), (2, 3)), ((8,), (0, 8)), ((2, 4), (8,))]
)
def test_momentum_refuses_shapes_that_differ(route, velocity: tuple[int, ...], gradient: tuple[int, ...]) -> None:
    tensors = [[torch.zeros(shape)] for shape in ((8,), velocity, gradient)]
    with pytest.raises(InputError, match=r"shape of their parameter, \(8,\)"):
        momentum_update(*tensors, lr=0.1, momentum=0.5, backend=route.backend)


@pytest.mark.parametrize("rate_inside", [True, False])
def test_rates_in_tensors_are_those_in_numbers(rate_inside: bool) -> None:
    tensors = [[torch.randn(5, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)] for _ in range(3)]
    others = [[t.clone() for t in ts] for ts in tensors]
    momentum_update(*tensors, lr=0.1, momentum=0.7, rate_inside=rate_inside)
    lr, momentum = (torch.tensor(rate, dtype=torch.float64) for rate in (0.1, 0.7))
    momentum_update(*others, lr=lr, momentum=momentum, rate_inside=rate_inside)
    for a, b in zip(tensors[0] + tensors[1], others[0] + others[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


def test_the_rate_outside_the_velocity_is_torch_s_sgd(native_route) -> None:
    parameter, copy = torch.randn(50).requires_grad_(), torch.zeros(50)
    copy.copy_(parameter.detach())
    velocity, rule = torch.zeros(50), torch.optim.SGD([parameter], lr=0.1, momentum=0.7, foreach=True)
    for _ in range(3):
        parameter.grad = torch.randn(50)
        rule.step()
        momentum_update([copy], [velocity], [parameter.grad], lr=0.1, momentum=0.7, rate_inside=False)
        assert torch.equal(copy, parameter.detach())
    with pytest.raises(UsageError, match="on the CPU with the rate inside"):
        momentum_update([copy], [velocity], [parameter.grad], lr=0.1, momentum=0.7, rate_inside=False, backend="native")


@pytest.mark.cuda
@pytest.mark.parametrize("rate_inside", [True, False])
def test_momentum_on_a_gpu_has_the_bits_of_torch_s_operations(cuda: torch.device, rate_inside: bool) -> None:
    tensors = [[torch.randn(n, device=cuda) for n in (1, 5000, 2048, 0)] for _ in range(3)]
    others = [[t.clone() for t in ts] for ts in tensors]
    momentum_update(*tensors, lr=0.1, momentum=0.7, rate_inside=rate_inside, backend="native")
    momentum_update(*others, lr=0.1, momentum=0.7, rate_inside=rate_inside, backend="torch")
    for a, b in zip(tensors[0] + tensors[1], others[0] + others[1], strict=True):
        assert torch.equal(a, b)
