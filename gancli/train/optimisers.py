"""Gradient rules: momentum as Pylearn2 and as torch write it, and Adam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gancli.config import Config
from gancli.ops import momentum_update


class Pylearn2Momentum(torch.optim.Optimizer):
    """Momentum with the learning rate inside the velocity: v ← m·v − lr·g, θ ← θ + v.

    torch.optim.SGD keeps lr outside (v ← m·v + g, θ ← θ − lr·v); the two differ while lr decays or m ramps.

    Source: pylearn2.training_algorithms.learning_rule.Momentum.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, backend: str = "auto") -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.backend = backend

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure, no loss returned
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for p in parameters:
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = torch.zeros_like(p)
            velocities = [self.state[p]["velocity"] for p in parameters]
            gradients = [p.grad for p in parameters if p.grad is not None]
            momentum_update(
                parameters,
                velocities,
                gradients,
                lr=group["lr"],
                momentum=group["momentum"],
                backend=self.backend,
            )


def make_optimiser(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """Return the gradient rule that the configuration names, over all of a network's parameters."""
    parameters = list(network.parameters())
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=config.lr, betas=(config.adam_beta1, config.adam_beta2), fused=True)
    if config.momentum_form == "pylearn2":
        return Pylearn2Momentum(parameters, config.lr, config.momentum, config.backend)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, foreach=True)


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
    names = {"Adam": {"step", "exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}.get(
        type(rule).__name__, {"velocity"}
    )
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
