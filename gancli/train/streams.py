"""Each rank's stream of noise and dropout, and the way back into it after a stop."""

from __future__ import annotations

import warnings

import torch

from gancli.errors import GancliWarning
from gancli.ranks import Ranks
from gancli.train.seeds import make_rng


def play_stream(ranks: Ranks, step: int = 0) -> str:
    """Name this rank's stream of noise and dropout where so many ranks begin at `step`, or go on in a new number."""
    return "play" if (ranks.size, step) == (1, 0) else f"play/{ranks.rank} of {ranks.size} from {step}"


def take_up_stream(rng: torch.Generator, states: torch.Tensor, *, seed: int, ranks: Ranks, step: int) -> None:
    """Go on with this rank's stream; where the ranks or the kind of device were others, begin a new one.

    Args:
        rng: what is to go on, on the device of this rank.
        states: (ranks, bytes) uint8, the state of each rank's stream at `step`.
        seed: of the run.
        ranks: who goes on.
        step: iterations done.

    Raises:
        ValueError: these are no states.
    """
    if states.dtype != torch.uint8 or states.ndim != 2 or not states.numel():
        raise ValueError("its random numbers have no state")
    stream = play_stream(ranks, step)
    if states.shape[1:] != rng.get_state().shape:
        warnings.warn(
            f"The checkpoint of iteration {step:,} is of another kind of device than {rng.device.type}, whose random "
            "numbers are others: the run goes on with new noise, not to the same bits.",
            GancliWarning,
            stacklevel=2,
        )
        stream = f"{stream} on {rng.device.type}"
    elif len(states) == ranks.size:
        rng.set_state(states[ranks.rank].clone())  # torch crashes where it is a part of a tensor
        return
    rng.set_state(make_rng(seed, stream, rng.device).get_state())
