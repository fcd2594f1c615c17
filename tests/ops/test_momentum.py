"""The momentum update on every route."""

from __future__ import annotations

import pytest
import torch

from gancli.errors import UsageError
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
