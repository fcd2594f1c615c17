"""Gradient rules: momentum as Pylearn2 and as torch write it, and Adam."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gancli.config import Config
from gancli.ops import momentum_update


class _Momentum(torch.optim.Optimizer):
    """Momentum in one of its two forms; rate and momentum may be tensors, which a CUDA graph reads when it is replayed.

    Attributes:
        rate_inside: whether the velocity has the learning rate in it.
        kept_as: the velocity's name in checkpoints.
    """

    rate_inside: bool
    kept_as: str

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, backend: str = "auto") -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.backend = backend

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure, no loss returned
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for p in parameters:
                if self.kept_as not in self.state[p]:
                    self.state[p][self.kept_as] = torch.zeros_like(p)
            velocities = [self.state[p][self.kept_as] for p in parameters]
            gradients = [p.grad for p in parameters if p.grad is not None]
            kernel = self.rate_inside or any(p.is_cuda for p in parameters)
            momentum_update(
                parameters,
                velocities,
                gradients,
                lr=group["lr"],
                momentum=group["momentum"],
                rate_inside=self.rate_inside,
                backend=self.backend if kernel else "torch",
            )


class Pylearn2Momentum(_Momentum):
    """Momentum with the learning rate inside the velocity: v ← m·v − lr·g, θ ← θ + v.

    torch keeps lr outside; the two differ while lr decays or m ramps.

    Source: pylearn2.training_algorithms.learning_rule.Momentum.
    """

    rate_inside, kept_as = True, "velocity"


class TorchMomentum(_Momentum):
    """Momentum as torch.optim.SGD writes it: v ← m·v + g, θ ← θ − lr·v; to the same bits."""

    rate_inside, kept_as = False, "momentum_buffer"


def make_optimiser(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """Return the gradient rule that the configuration names, over all of a network's parameters."""
    parameters = list(network.parameters())
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=config.lr, betas=(config.adam_beta1, config.adam_beta2), fused=True)
    form = Pylearn2Momentum if config.momentum_form == "pylearn2" else TorchMomentum
    return form(parameters, config.lr, config.momentum, config.backend)


def restore_rule(rule: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Take up the state of every parameter from a checkpoint; settings stay the configuration's.

    Args:
        rule: over the parameters that the state belongs to, in the same order.
        saved: what its state_dict() was.

    Raises:
        ValueError: the state does not fit the parameters or the rule.
    """
    own, state = rule.state_dict(), saved["state"]
    parameters = [p for group in rule.param_groups for p in group["params"]]
    names = {rule.kept_as} if isinstance(rule, _Momentum) else {"step", "exp_avg", "exp_avg_sq"}
    if state and (set(state) != set(range(len(parameters))) or any(set(entry) != names for entry in state.values())):
        raise ValueError("the state of a gradient rule is another rule's")
    for number, entry in state.items():
        for name, value in entry.items():
            shape = () if name == "step" else parameters[number].shape
            if not (isinstance(value, Tensor) and value.shape == shape and value.is_floating_point()):
                raise ValueError(f"the gradient rule's {name} does not have the shape of its weights")
    # In memory of their own: a file may hold a tensor whose values all lie in one place, and no update works there.
    state = {
        number: {name: value.clone(memory_format=torch.contiguous_format) for name, value in entry.items()}
        for number, entry in state.items()
    }
    rule.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def set_schedule(optimiser: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Set the learning rate, and the momentum where the rule has one."""
    for group in optimiser.param_groups:
        group["lr"] = lr
        if "momentum" in group:
            group["momentum"] = momentum


@contextmanager
def schedule_in_tensors(rules: Sequence[torch.optim.Optimizer], lr: Tensor, momentum: Tensor) -> Iterator[None]:
    """While active, let rules read learning rate and momentum from tensors, as a step that is captured must.

    Args:
        rules: made by make_optimiser.
        lr: () float32, on the parameters' device.
        momentum: likewise.
    """
    groups = [group for rule in rules for group in rule.param_groups]
    before = [dict(group) for group in groups]
    for group in groups:
        group["lr"] = lr
        if "momentum" in group:
            group["momentum"] = momentum
        if "capturable" in group:  # Adam, fused, is so in any case; torch wants the word in a capture, and only there
            group["capturable"] = lr.is_cuda and torch.cuda.is_current_stream_capturing()
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


@contextmanager
def unchanged(networks: Iterable[nn.Module], rules: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Let something be played and then take it back: weights, and the rules' state in tensors that stay in place.

    What a rule had not begun to keep begins at zero, which for every rule of make_optimiser is where it starts.
    """
    weights = [p.detach() for network in networks for p in network.parameters()]
    before = {tensor.data_ptr(): tensor.clone() for tensor in [*weights, *_state(rules)]}
    try:
        yield
    finally:
        for tensor in [*weights, *_state(rules)]:
            kept = before.get(tensor.data_ptr())
            tensor.zero_() if kept is None else tensor.copy_(kept)


def _state(rules: Iterable[torch.optim.Optimizer]) -> list[Tensor]:
    return [value for rule in rules for entry in rule.state.values() for value in entry.values()]
