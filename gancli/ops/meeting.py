"""Where processes that share memory wait for each other, within microseconds."""

from __future__ import annotations

from torch import Tensor

from gancli.ops import native


def available() -> bool:
    """Whether processes can meet here: it takes the native module's atomic operations."""
    return native.load("_cpu")[0] is not None


def turns_bytes(size: int) -> int:
    """Return how much shared memory the meetings of `size` ranks take."""
    stride: int = native.require("_cpu", "meet").turn_stride
    return 8 * stride * size


def meet(turns: Tensor, rank: int, turn: int, seconds: float) -> bool:
    """Arrive at a meeting and wait until all ranks have: what each wrote before, all see afterwards.

    Args:
        turns: `turns_bytes` of shared memory as int64, zeros before the first meeting.
        rank: this process.
        turn: number of the meeting, from 1.
        seconds: how long to wait at most.

    Returns:
        Whether all have come. If not, the same call waits on.

    Source: csrc/cpu/meeting.h.
    """
    module = native.require("_cpu", "meet")
    size = turns.numel() // module.turn_stride
    came: bool = module.meet(turns=turns.data_ptr(), rank=rank, size=size, turn=turn, seconds=seconds)
    return came
