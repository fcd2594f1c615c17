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
    """A matrix that all ranks of a machine see: a row for each of them, and maybe some that belong to all.

    Attributes:
        values: (ranks + common rows, columns).
        part: the columns that are this rank's work where work on columns is shared out.
    """

    def __init__(self, ranks: Ranks, memory: Tensor, columns: int, dtype: torch.dtype) -> None:
        self._ranks, self._turn = ranks, 0
        turns = meeting.turns_bytes(ranks.size)
        self._turns = memory[:turns].view(torch.int64)
        self.values = memory[turns:].view(dtype).view(-1, columns)
        self.part = ranks.part(columns)
        others = ranks.gather(torch.tensor([os.getpid()]), ranks.size).tolist()
        del others[ranks.rank]
        self._others = select.poll()  # readable: that process has ended
        for process in others:
            self._others.register(os.pidfd_open(process), select.POLLIN)

    def sum_(self) -> None:
        """Replace every rank's row by the sum of all: each adds up its part of the columns and copies the others' sums.

        A column is one rank's work, so that all rows end with the same bits.

        Raises:
            GancliError: another rank ended, or hangs.
        """
        own = self.values[self._ranks.rank]
        parts = [self._ranks.part(self.values.shape[1], rank) for rank in range(self._ranks.size)]
        others = [rank for rank in range(self._ranks.size) if rank != self._ranks.rank]
        self.meet()  # all rows are written
        for rank in others:
            own[self.part] += self.values[rank, self.part]
        self.meet()  # all parts are summed up
        for rank in others:
            own[parts[rank]] = self.values[rank, parts[rank]]
        self.meet()  # all have read this row: it may be written again

    def meet(self) -> None:
        """Wait until all ranks are here; what each wrote before, all see afterwards.

        Raises:
            GancliError: another rank ended, or hangs.
        """
        self._turn += 1
        begin = time.monotonic()
        with joining.connected():
            while not meeting.meet(self._turns, self._ranks.rank, self._turn, _LOOK_EVERY):
                if self._others.poll(0):
                    raise RuntimeError("a rank ended")
                if time.monotonic() - begin > joining.TIMEOUT.total_seconds():
                    raise RuntimeError("a rank hangs")


def shared_rows(ranks: Ranks, columns: int, dtype: torch.dtype, *, common: int = 0) -> SharedRows | None:
    """Return zeros (ranks + common, columns) that all ranks see, or None on every rank where they must send messages.

    That is so on several machines, on systems other than Linux (5.3 or later), and without the native module.
    """
    if not ranks.neighbours or ranks.largest(int(not (meeting.available() and _can_watch_processes()))):
        return None
    bytes_of_rows = (ranks.size + common) * columns * dtype.itemsize
    memory = ranks.shared_memory(meeting.turns_bytes(ranks.size) + bytes_of_rows)
    return None if memory is None else SharedRows(ranks, memory, columns, dtype)


def _can_watch_processes() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system, an old kernel, or a sandbox that forbids it
        return False
    return True
