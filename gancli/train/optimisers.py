"""Gradient rules: momentum as Pylearn2 and as torch write it, and Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

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


def set_schedule(optimiser: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Set the learning rate, and the momentum where the rule has one."""
    for group in optimiser.param_groups:
        group["lr"] = lr
        if "momentum" in group:
            group["momentum"] = momentum
