"""One player's gradients, while other backward passes are under way."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from gancli.ops import bound_gradient_norm_, dense, gradients
from gancli.ops.gradients import _wanted, needed


class Watched(torch.autograd.Function):
    """x·wᵀ that says which gradients its backward was asked for, once `meet` has returned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, meet: Any, seen: list[list[bool]]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.meet, ctx.seen = meet, seen
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        ctx.meet()
        ctx.seen.append(needed(ctx, (x, weight)))
        return v_y @ weight, v_y.T @ x, None, None


def leaves() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 4).requires_grad_(), torch.randn(2, 4).requires_grad_()


def test_two_threads_at_once_do_not_disturb_each_other() -> None:
    both = threading.Barrier(2, timeout=60)  # either is in the middle of its pass before the other asks
    seen: list[list[list[bool]]] = [[], []]
    problems = [leaves(), leaves()]
    found: list[Any] = [None, None]

    def work(number: int) -> None:
        x, weight = problems[number]
        for _ in range(20):
            loss = Watched.apply(x, weight, both.wait, seen[number]).square().sum()
            found[number] = gradients(loss, [problems[number][number]])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[[True, False]] * 20, [[False, True]] * 20]
    for number, (x, weight) in enumerate(problems):
        expected = torch.autograd.grad((x @ weight.T).square().sum(), problems[number][number])
        torch.testing.assert_close(found[number], expected)
    assert not _wanted


def test_a_pass_within_a_pass_has_wants_of_its_own() -> None:
    x, weight = leaves()
    inner: list[list[bool]] = []
    outer: list[list[bool]] = []

    def another() -> None:
        with torch.enable_grad():
            loss = Watched.apply(x, weight, lambda: None, inner).sum()
        gradients(loss, [weight])

    gradients(Watched.apply(x, weight, another, outer).sum(), [x])
    assert (outer, inner) == ([[True, False]], [[False, True]])


def test_a_pass_that_nobody_announced_gives_every_gradient() -> None:
    x, weight = leaves()
    seen: list[list[bool]] = []
    torch.autograd.grad(Watched.apply(x, weight, lambda: None, seen).sum(), [x])
    assert seen == [[True, True]]


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    x, weight = leaves()

    def fail() -> None:
        raise KeyError("on the way")

    with pytest.raises(KeyError, match="on the way"):
        gradients(Watched.apply(x, weight, fail, []).sum(), [x])
    assert not _wanted
    bias = torch.zeros(2, requires_grad=True)
    with torch.no_grad():
        with torch.enable_grad():
            loss = dense(x, weight, bias).sum()
        (found,) = gradients(loss, [bias])
    assert torch.equal(found, torch.full((2,), 3.0))


@pytest.mark.parametrize("bound", [1e-3, 1.0, 5.0, 1e6])
def test_bounded_gradients_have_torch_s_bits(bound: float) -> None:
    ours, theirs = ([torch.zeros(n, requires_grad=True) for n in (1, 30, 200)] for _ in range(2))
    for own, other in zip(ours, theirs, strict=True):
        own.grad = torch.randn(len(own))
        other.grad = own.grad.clone()
    before = [p.grad.clone() for p in ours]
    norm = torch.cat(before).norm()
    bound_gradient_norm_(ours, bound)
    torch.nn.utils.clip_grad_norm_(theirs, bound)
    for own, other, old in zip(ours, theirs, before, strict=True):
        assert torch.equal(own.grad, other.grad)
        assert torch.equal(own.grad, old) == bool(norm <= bound)


def test_a_norm_that_is_not_a_number_reaches_all_gradients() -> None:
    parameters = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    for p, value in zip(parameters, (1.0, float("nan")), strict=True):
        p.grad = torch.full((2,), value)
    bound_gradient_norm_(parameters, 5.0)
    assert all(p.grad.isnan().all() for p in parameters)
