"""The training step captured once and replayed: on a GPU one CUDA graph, one launch in place of hundreds.

What changes from one iteration to the next lies in tensors that stay where they are and are filled before each replay:
the numbers of the examples, the learning rate and the momentum. Everything else is read and written in place: weights,
gradients, the rules' state, and the state of the random numbers, which a replay moves on just as the operations one by
one would.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gancli.errors import GancliWarning, memory_shortage
from gancli.ranks import Ranks
from gancli.train.optimisers import schedule_in_tensors, unchanged
from gancli.train.step import Play, Step

# Captures what a function does and returns: makes it happen again, with whatever the same tensors hold by then. It may
# call the function several times to that end.
Capture = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]

# Before a capture libraries must have chosen their kernels and made their workspaces, and rules their state.
_WARM_UPS = 3

# Whether a capture failed in this process: up to torch 2.11 its allocator then goes on as if it were still under way.
_failed = False


def captured_if_possible(step: Step, device: torch.device, ranks: Ranks) -> tuple[Play, str]:
    """Return what plays iterations on a device, and how in words: none on the CPU, where nothing is launched."""
    if device.type != "cuda":
        return step, ""
    if ranks.size > 1:  # sums of gradients between the passes, and ranks that have to agree when one of them stops
        return step, "steps not captured in a CUDA graph, since several ranks share them"
    return CapturedStep(step, lambda play: cuda_graph(play, step.rng)), "each step one CUDA graph"


def watchable(step: Step, like: Play) -> Play:
    """Return what plays iterations to the bits of `like`, but operation by operation, which can be watched."""
    return CapturedStep(step, lambda play: play, dtype=like.dtype) if isinstance(like, CapturedStep) else step


class CapturedStep:
    """Plays iterations by replaying one; to the bits of the same step played operation by operation.

    The first call captures, and so does the first whose gradients are bounded where those before it were not. It does
    so where the run then stands, on a state that is put back afterwards, so that every iteration of a run is a replay
    and a run that goes on repeats the bits of an unbroken one.
    """

    def __init__(self, step: Step, capture: Capture, *, dtype: torch.dtype = torch.float32) -> None:
        """Prepare the tensors that are filled before each iteration.

        Args:
            step: what is captured.
            capture: how.
            dtype: of learning rate and momentum: float32 is what torch's kernels on a GPU read.
        """
        self._step, self._capture, self.dtype = step, capture, dtype
        device = step.rng.device
        self._indices = list(torch.zeros(step.game.k, step.data.own_size, dtype=torch.int64, device=device))
        self._lr, self._momentum = (torch.zeros((), dtype=dtype, device=device) for _ in range(2))
        self._replays: dict[bool, Callable[[], Tensor]] = {}  # without and with a bound on gradients

    def __call__(self, number: int, lr: float, momentum: float) -> Tensor:
        """Play iteration `number`; the result holds until the next one is played."""
        self._step.set_schedule(lr, momentum)
        self._lr.fill_(lr)
        self._momentum.fill_(momentum)
        for row, position in zip(self._indices, self._step.positions(number), strict=True):
            row.copy_(self._step.data.indices(position))
        bounded = self._step.bounded(number)
        if bounded not in self._replays:
            self._replays[bounded] = self._captured(lambda: self._play(bounded))
        return self._replays[bounded]()

    def _play(self, bounded: bool) -> Tensor:
        game, rows = self._step.game, iter(self._indices)
        with schedule_in_tensors((game.update_G, game.update_D), self._lr, self._momentum):
            return self._step.play(lambda: self._step.data.examples(next(rows)), bounded=bounded)

    def _captured(self, play: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Capture; where that cannot be done for another reason than memory, say so and play operation by operation."""
        # Played before the capture, whose gradients are then those that stay at the parameters.
        before, played = self._weights_after(lambda: None), self._weights_after(play)
        try:
            with self._taken_back():
                replay = self._capture(play)
            # Up to rounding a replay moves the weights as its operations do: a wrong graph would not say so itself.
            # NaN passes, which training tells.
            rounding = 1e-3 * (played - before).norm() + 1e-6 * before.norm()
            if not bool((self._weights_after(replay) - played).norm() > rounding):
                return replay
            reason = "a replay ended elsewhere than the operations that were captured"
        except RuntimeError as error:
            if memory_shortage(error):
                raise
            reason = str(error).splitlines()[0].rstrip(".")
        warnings.warn(
            f"The training step could not be captured in a CUDA graph ({reason}): it is played operation by "
            "operation, to the same end but slower.",
            GancliWarning,
            stacklevel=2,
        )
        return play

    def _weights_after(self, play: Callable[[], object]) -> Tensor:
        """Return where all weights are after something is played from where the run stands, which it does again."""
        game = self._step.game
        with self._taken_back():
            play()
            return torch.cat([p.detach().flatten() for network in (game.G, game.D) for p in network.parameters()])

    @contextmanager
    def _taken_back(self) -> Iterator[None]:
        """Let something be played, and put the run back where it stands."""
        game, rng = self._step.game, self._step.rng
        state = rng.get_state()
        try:
            with unchanged((game.G, game.D), (game.update_G, game.update_D)):
                yield
        finally:
            rng.set_state(state)


def cuda_graph(play: Callable[[], Tensor], rng: torch.Generator) -> Callable[[], Tensor]:
    """Capture what `play` does on a GPU; returns what replays it on the current stream.

    Args:
        play: what it returns is overwritten by each replay.
        rng: where its random numbers come from, beside torch's own generator; each replay takes the next ones.

    Raises:
        RuntimeError: it cannot be captured.
    """
    global _failed
    if _failed:
        raise RuntimeError("a capture in this process failed before, and torch's memory may still wait for its end")
    stream = torch.cuda.Stream(rng.device)
    stream.wait_stream(torch.cuda.current_stream(rng.device))
    try:
        with torch.cuda.stream(stream):  # and on its device, where torch then puts what a graph knows of a generator
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(rng)
            for _ in range(_WARM_UPS):
                play()
            with torch.cuda.graph(graph, stream=stream):
                output = play()
    except RuntimeError:
        _failed = True
        _release(rng)
        _release(torch.cuda.default_generators[rng.device.index])
        raise
    finally:
        torch.cuda.current_stream(rng.device).wait_stream(stream)

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def _release(rng: torch.Generator) -> None:
    """Free a generator from a capture that failed: its state takes itself for part of it and cannot be drawn from."""
    state = rng.get_state()
    rng.graphsafe_set_state(torch.Generator(rng.device))
    rng.set_state(state)
