"""Memory that the ranks of one machine share, and where they meet: sums without messages."""

from __future__ import annotations

import os
import select
import time

import torch
from torch import Tensor

from gancli import ranks as joining
from gancli.ops import meeting
from gancli.ranks import Ranks

_LOOK_EVERY = 0.1  # seconds of waiting after which a rank looks whether the others are still there


class SharedRows:
    """A matrix that all ranks of a machine see, of which each writes one row.

    Attributes:
        values: (ranks, columns).
    """

    def __init__(self, ranks: Ranks, memory: Tensor, columns: int, dtype: torch.dtype) -> None:
        self._ranks, self._turn = ranks, 0
        turns = meeting.turns_bytes(ranks.size)
        self._turns = memory[:turns].view(torch.int64)
        self.values = memory[turns:].view(dtype).view(ranks.size, columns)
        others = ranks.gather(torch.tensor([os.getpid()]), ranks.size).tolist()
        del others[ranks.rank]
        self._others = select.poll()  # readable: that process has ended
        for process in others:
            self._others.register(os.pidfd_open(process), select.POLLIN)

    def sum_(self) -> None:
        """Replace every row by the sum of all: each rank adds up its part of the columns and copies the others' sums.

        A column is one rank's work, so that all rows end with the same bits.

        Raises:
            GancliError: another rank ended, or hangs.
        """
        own = self.values[self._ranks.rank]
        parts = [self._ranks.part(self.values.shape[1], rank) for rank in range(self._ranks.size)]
        others = [rank for rank in range(self._ranks.size) if rank != self._ranks.rank]
        columns = parts[self._ranks.rank]
        self._meet()  # all rows are written
        for rank in others:
            own[columns] += self.values[rank, columns]
        self._meet()  # all parts are summed up
        for rank in others:
            own[parts[rank]] = self.values[rank, parts[rank]]
        self._meet()  # all have read this row: it may be written again

    def _meet(self) -> None:
        self._turn += 1
        begin = time.monotonic()
        with joining.connected():
            while not meeting.meet(self._turns, self._ranks.rank, self._turn, _LOOK_EVERY):
                if self._others.poll(0):
                    raise RuntimeError("a rank ended")
                if time.monotonic() - begin > joining.TIMEOUT.total_seconds():
                    raise RuntimeError("a rank hangs")


def shared_rows(ranks: Ranks, columns: int, dtype: torch.dtype) -> SharedRows | None:
    """Return zeros (ranks, columns) that all ranks see, or None on every rank where they must send messages instead.

    That is so on several machines, on systems other than Linux (5.3 or later), and without the native module.
    """
    if not ranks.neighbours or ranks.largest(int(not (meeting.available() and _can_watch_processes()))):
        return None
    bytes_of_rows = ranks.size * columns * dtype.itemsize
    memory = ranks.shared_memory(meeting.turns_bytes(ranks.size) + bytes_of_rows)
    return None if memory is None else SharedRows(ranks, memory, columns, dtype)


def _can_watch_processes() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system, an old kernel, or a sandbox that forbids it
        return False
    return True
