"""Numbers that are no longer numbers: whether there are any, and which step of which layer made the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gancli.nets.networks import Discriminator, Generator
from gancli.train.algorithm1 import Game


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value is NaN or infinite; reads every value once, and from the device once."""
    tensors = [tensor for tensor in tensors if tensor.ndim]  # Adam counts its steps in single numbers on the CPU
    # A sum is not finite if any of its terms is not, and costs no second tensor. It may also overflow by itself.
    sums = torch.stack([tensor.sum() for tensor in tensors])
    return bool(sums.isfinite().all()) or all(bool(tensor.isfinite().all()) for tensor in tensors)


def state_of(game: Game) -> Iterator[Tensor]:
    """Yield both players' weights, and the tensors of their gradient rules."""
    for player, rule in ((game.G, game.update_G), (game.D, game.update_D)):
        yield from player.parameters()
        for state in rule.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


@contextmanager
def watch(game: Game) -> Iterator[list[str]]:
    """While active, look at every layer's output, every gradient and every updated weight as they come.

    This costs a pass over everything and a wait for the device each time; it is for finding a cause, not for training.

    Yields:
        A list that fills with what was not finite, in the order of time: "the output of layer 2 of D (maxout 240x5)
        became inf".
    """
    found: list[str] = []

    def look(tensor: Tensor | None, what: str) -> None:
        if tensor is not None and not bool(tensor.isfinite().all()):
            value = float(tensor.detach()[~tensor.isfinite()][0])
            found.append(f"the {what} became {'NaN' if value != value else value}")

    with ExitStack() as stack:
        for player, letter, rule in ((game.G, "G", game.update_G), (game.D, "D", game.update_D)):
            named = list(_named_layers(player, letter))
            for name, layer in named:

                def after_forward(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                    look(output, f"output of {name}")

                stack.callback(layer.register_forward_hook(after_forward).remove)

            def before_update(*_: Any, named: list[tuple[str, nn.Module]] = named) -> None:
                for name, layer in named:
                    for kind, parameter in layer.named_parameters():
                        look(parameter.grad, f"gradient for the {kind} of {name}")

            def after_update(*_: Any, named: list[tuple[str, nn.Module]] = named) -> None:
                for name, layer in named:
                    for kind, parameter in layer.named_parameters():
                        look(parameter.detach(), f"{kind} of {name}")

            stack.callback(rule.register_step_pre_hook(before_update).remove)
            stack.callback(rule.register_step_post_hook(after_update).remove)
        yield found


def _named_layers(player: Generator | Discriminator, letter: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield a player's layers with weights, named by their number and their words in the configuration."""
    texts = [layer for layer in player.text if layer.kind != "reshape"]
    for number, (text, layer) in enumerate(zip(texts, player.weighted, strict=True), start=1):
        yield f"layer {number} of {letter} ({text})", layer
