"""Layers and updates on a GPU: what has a kernel there runs it, and torch serves the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gancli.errors import UsageError
from gancli.ops import dense, distances, dropout, gradients, maxout, momentum_update, native, parzen_log_sum_exp


def step(device: torch.device, backend: str = "auto") -> list[Tensor]:
    """One update of a maxout network with dropout and a dense layer, from the same numbers everywhere."""
    rng = torch.Generator().manual_seed(3)
    shapes = [(60, 2, 40), (60, 2), (50, 60), (50,), (1, 50), (1,)]
    parameters = [(0.2 * torch.randn(shape, generator=rng)).to(device).requires_grad_() for shape in shapes]
    x = torch.randn(30, 40, generator=rng).to(device)
    h = maxout(dropout(x, 1.0, backend=backend), *parameters[:2], backend=backend)
    y = dense(dense(h, *parameters[2:4], "relu", backend=backend), *parameters[4:], backend=backend)
    found = gradients(torch.nn.functional.softplus(y).mean(), parameters)
    velocities = [torch.zeros_like(p) for p in parameters]
    momentum_update(parameters, velocities, found, lr=0.1, momentum=0.5, backend=backend)
    return [t.detach().cpu() for t in (y, *parameters)]


@pytest.mark.cuda
def test_a_training_step_on_a_gpu_agrees_with_the_cpu(cuda: torch.device) -> None:
    for there, here in zip(step(cuda), step(torch.device("cpu"), "torch"), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
def test_the_gradients_of_one_player_reach_the_engine_s_threads(cuda: torch.device) -> None:
    x = torch.randn(9, 8, device=cuda)
    first, second = (torch.randn(8, 2, 8, device=cuda).requires_grad_() for _ in range(2))
    bias = torch.zeros(8, 2, device=cuda)
    loss = maxout(maxout(x, first, bias, backend="native"), second, bias, backend="native").sum()
    (fresh,) = gradients(loss, [second], retain_graph=True)
    second.grad = torch.full_like(second, torch.nan)
    (found,) = gradients(loss, [second], reuse=True)
    assert found.data_ptr() == second.grad.data_ptr()
    assert torch.equal(found, fresh)


@pytest.mark.cuda
def test_distances_on_a_gpu_are_the_same_where_tf32_is_allowed(cuda: torch.device, tf32: None) -> None:
    x, y = torch.rand(300, 100), torch.rand(500, 100)
    expected = distances.nearest_squared_distances_reference(x, y, 3)
    found = distances.nearest_squared_distances(x.to(cuda), y.to(cuda), 3).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    by_torch = parzen_log_sum_exp(x.to(cuda), y.to(cuda), [0.1], backend="torch").cpu()
    torch.testing.assert_close(by_torch, parzen_log_sum_exp(x, y, [0.1], backend="torch"), rtol=0, atol=2e-3)


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose CUDA module is built and fits its GPU, for all that the choice of a path sees."""
    monkeypatch.setattr(native, "cuda_problem", lambda: "")
    monkeypatch.setattr(native, "load", lambda name: (_Everything, ""))


class _Everything:
    count_nonzeros = dropout = maxout_forward = maxout_pool_forward = momentum_update = parzen_log_sum_exp = None


@pytest.mark.parametrize("operation", ["dense", "dropout"])
def test_what_has_no_cuda_kernel_goes_to_torch(usable: None, operation: str) -> None:
    assert native.chosen("auto", operation, "cpu", True, "")
    assert not native.chosen("auto", operation, "cuda", True, "")
    with pytest.raises(UsageError, match=f"there is no CUDA kernel for {operation}.*--backend auto") as refused:
        native.chosen("native", operation, "cuda", True, "")
    assert "rebuild" not in str(refused.value)


@pytest.mark.parametrize("operation", native.CUDA_OPERATIONS)
def test_what_has_a_cuda_kernel_runs_it(usable: None, operation: str) -> None:
    assert native.chosen("native", operation, "cuda", True, "")
