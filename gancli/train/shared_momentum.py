"""Momentum on several ranks of one machine: weights in memory that all see, of which each updates its part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gancli.config import Config
from gancli.ops import momentum_update
from gancli.ranks import Ranks
from gancli.train.end_to_end import parts, room
from gancli.train.optimisers import Pylearn2Momentum
from gancli.train.shared_rows import SharedRows, shared_rows


class SharedMomentum(Pylearn2Momentum):
    """Pylearn2Momentum on the sum of the ranks' gradients: g = Σ_r g_r;  v ← m·v − lr·g;  θ ← θ + v.

    Weights and velocities exist once on the machine. Each rank writes gradients into a row of its own, and then, in its
    part of the columns, adds up all rows and updates velocity and weights in one pass. So no sum is ever stored and no
    update done twice: of N weights each of R ranks moves (R + 4)·N/R numbers. A column is one rank's work and its sum
    has one order, so that all see the same bits whichever rank does it.

    All ranks make one for the same parameters, with equal values, and step together.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], config: Config, rows: SharedRows, ranks: Ranks) -> None:
        """Move the parameters into rows of common memory.

        Args:
            parameters: float32, on the CPU.
            config: names rate, momentum and backend.
            rows: a row for each rank's gradients, and two that are common.
            ranks: this process among the others.
        """
        super().__init__(parameters, config.lr, config.momentum, config.backend)
        self._rows, self._parameters = rows, parameters
        self._gradients = rows.values[: ranks.size]
        self._common = rows.values[ranks.size :]  # weights and velocities
        weights, velocities, gradients = (
            parts(row, parameters) for row in (*self._common, self._gradients[ranks.rank])
        )
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data = weight.copy_(parameter.data)
        self._places = list(zip(parameters, velocities, gradients, strict=True))
        for parameter, velocity, _ in self._places:
            self.state[parameter][self.kept_as] = velocity

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure, no loss returned
        """Update every parameter by all ranks' gradients.

        Raises:
            GancliError: another rank ended, or hangs.
        """
        for parameter, _, own in self._places:
            if parameter.grad is None:
                raise RuntimeError("step() before there were gradients")
            if parameter.grad.data_ptr() != own.data_ptr():  # it was not written there in the first place
                parameter.grad = own.copy_(parameter.grad)
        self._rows.meet()  # all gradients are written, and nobody uses the old weights any more
        (group,), columns = self.param_groups, self._rows.part
        weights, velocities = self._common[:, columns]
        momentum_update(
            [weights],
            [velocities],
            [self._gradients[:, columns]],
            lr=group["lr"],
            momentum=group["momentum"],
            backend=self.backend,
        )
        self._rows.meet()  # all weights are new, and gradients may be written again
        torch.autograd.graph.increment_version(self._parameters)  # graphs that saved an old weight are invalid

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take velocities over into the common memory; what is not there begins at zero."""
        super().load_state_dict(state_dict)
        for parameter, velocity, _ in self._places:
            loaded = self.state[parameter].get(self.kept_as)
            velocity.zero_() if loaded is None else velocity.copy_(loaded)
            self.state[parameter][self.kept_as] = velocity


def shared_momentum(config: Config, ranks: Ranks, networks: Iterable[nn.Module]) -> list[SharedMomentum] | None:
    """Return a rule for each network that the ranks of one machine carry out together, or None on every rank.

    None where the rule is another, where anything stands between the sum of the gradients and the update or changes
    weights after it (bounds on norms), and where ranks share no memory.
    """
    if config.optimizer != "sgd" or config.momentum_form != "pylearn2":
        return None
    if config.max_gradient_norm is not None or config.max_column_norm is not None:
        return None
    players = [list(network.parameters()) for network in networks]
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for parameters in players for p in parameters):
        return None
    # Room for all of them before any weight moves there: half a game in common memory would be updated by every rank.
    found = []
    for parameters in players:
        rows = shared_rows(ranks, room(parameters), torch.float32, common=2)
        if rows is None:
            return None
        found.append(rows)
    return [SharedMomentum(parameters, config, rows, ranks) for parameters, rows in zip(players, found, strict=True)]
