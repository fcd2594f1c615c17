"""The processes of one job, as torchrun starts them, and what they tell each other.

This module alone knows torch.distributed. A process that was started by itself is the only rank of its job: it joins
nothing, and every method below gives back what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_group
from torch.distributed.rendezvous import rendezvous

from gancli.errors import GancliError, UsageError

T = TypeVar("T")

# How long a rank waits for another. One that ends is noticed at once; this is for one that hangs.
TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its job.

    All methods but `part`, `device` and `fails_first` are collective: every rank must call them, in the same order.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: its number on this machine.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _store: Store | None = field(default=None, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    @property
    def neighbours(self) -> bool:
        """Whether there are several ranks, all on one machine."""
        return 1 < self.size <= self.local_size

    def part(self, count: int, rank: int | None = None) -> slice:
        """Return which of `count` rows are this rank's, or another's; parts differ by one row at most."""
        rank = self.rank if rank is None else rank
        return slice(rank * count // self.size, (rank + 1) * count // self.size)

    def device(self, name: str) -> str:
        """Return the device that a name means for this rank: of the GPUs of a machine, each rank takes its own.

        Raises:
            UsageError: several ranks would share a GPU.
        """
        gpus = torch.cuda.device_count()
        if self.size == 1 or gpus == 0 or name == "cpu":
            return name
        if name not in ("auto", "cuda"):
            if self.local_size > 1:
                raise UsageError(
                    f"--device {name} would put the {self.local_size} ranks of this machine on one GPU; with "
                    "--device cuda each takes its own."
                )
            return name
        if self.local_size > gpus:
            raise UsageError(
                f"torchrun started {self.local_size} ranks on a machine with {gpus} GPUs; start one for each "
                f"(--nproc-per-node {gpus}), or use --device cpu."
            )
        return f"cuda:{self.local_rank}"

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over ranks; every rank gets the same bits."""
        if self.size > 1:
            with connected():
                dist.all_reduce(tensor)
        return tensor

    def shared_memory(self, count: int) -> Tensor | None:
        """Return `count` zeros, uint8, in memory that all ranks see, or None on every rank where there is none.

        There is on a Linux machine where ranks may open each other's files in /proc. The memory has no name in any
        folder: it goes with the last process that holds it, however that ends.
        """
        if not self.neighbours:
            return None
        file: list[int] = []

        def offer() -> str | None:
            try:
                file.append(os.memfd_create("gancli"))
            except (AttributeError, OSError):  # another system, or a sandbox that forbids it
                return None
            return f"/proc/{os.getpid()}/fd/{file[0]}"

        path, memory = self.agreed(offer), None
        if path is not None:
            with suppress(OSError, RuntimeError):
                memory = torch.from_file(path, shared=True, size=count, dtype=torch.uint8)
        missing = self.largest(int(memory is None))
        for descriptor in file:
            os.close(descriptor)
        return None if missing else memory

    def logaddexp(self, values: Tensor) -> Tensor:
        """Return log Σ_r exp(values of rank r), element by element; −inf stands for an empty sum."""
        if self.size == 1:
            return values
        largest = values.clone()
        with connected():
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
            total = (values - largest).exp_()
            dist.all_reduce(total)
        return total.log_().add_(largest)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Return all of `count` rows, of which each rank has its `part`."""
        if self.size == 1:
            return rows
        lengths = [len(range(count)[self.part(count, rank)]) for rank in range(self.size)]
        room = rows.new_zeros((max(lengths), *rows.shape[1:]))
        room[: len(rows)] = rows
        parts = [torch.empty_like(room) for _ in lengths]
        with connected():
            dist.all_gather(parts, room)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by rank 0's."""
        if self.size > 1:
            with connected(), torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def agreed(self, decide: Callable[[], T]) -> T:
        """Return what `decide` returns on rank 0, the only one that calls it; a value that can be pickled."""
        if self.size == 1:
            return decide()
        values = [decide()] if self.leads else [None]
        with connected():
            dist.broadcast_object_list(values, src=0)
        return cast("T", values[0])

    def largest(self, value: int) -> int:
        """Return the largest of the ranks' values."""
        if self.size == 1:
            return value
        values = torch.tensor([value])
        with connected():
            dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return int(values.item())

    def fails_first(self) -> bool:
        """Whether no other rank has called this before: the first that fails knows why, the others suffer from it."""
        if self._store is None:
            return True
        try:
            return bool(self._store.add("failed", 1) == 1)
        except RuntimeError:  # whoever kept the store is gone
            return True


ALONE = Ranks()
_current = ALONE


def current() -> Ranks:
    """Return the ranks that this process has joined."""
    return _current


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other ranks of the job as the environment that torchrun sets describes them; leave them at the end.

    GPUs talk through NCCL, CPUs through gloo.

    Raises:
        UsageError: the environment is incomplete.
        GancliError: the other ranks cannot be reached.
    """
    global _current
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    size, rank, local_rank, local_size, port = (_from_environment(name) for name in names)
    try:
        kept, *_ = next(rendezvous("env://", rank, size, timeout=TIMEOUT))
        # The store outlives a failed attempt of torchrun; the addresses of its dead ranks are not for the next one.
        store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", kept)
        gpus = torch.cuda.device_count()
        if gpus:
            torch.cuda.set_device(local_rank % gpus)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        # One that refuses its command at once must not be gone before the slowest has connected to it.
        dist.all_reduce(torch.zeros(1))
    except (RuntimeError, ValueError) as error:
        master = os.environ.get("MASTER_ADDR", "MASTER_ADDR (not set)")
        raise GancliError(
            f"Rank {rank} cannot join the other {size - 1} ranks through {master}, port {port}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    _current = Ranks(
        rank,
        size,
        local_rank,
        local_size,
        _store=PrefixStore("gancli", store),
    )
    try:
        yield _current
        # All arrive here before one leaves. After a failure the process just ends, and waits for nobody.
        with connected():
            dist.all_reduce(torch.zeros(1))
        _leave()
    finally:
        _current = ALONE


def _leave() -> None:
    """End the group without waiting for a thread that waits for us.

    A thread of gloo needs Python's lock to free a tensor that Python has forgotten. Before torch 2.8 a group that ends
    holds that lock while it waits for its threads; gloo's own part of it does not, and is made to go last.
    """
    gloo = torch.__version__ < "2.8" and _get_default_group()._get_backend(torch.device("cpu"))
    dist.destroy_process_group()
    del gloo


@contextmanager
def connected() -> Iterator[None]:
    """Turn the failure of what ranks do together, a RuntimeError, into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise GancliError(
            f"Rank {_current.rank} has lost the others: one of them ended or hangs, or the network failed. "
            "torchrun --max-restarts N starts the job again, and a run goes on from its last checkpoint."
        ) from error


def _from_environment(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise UsageError(f"{name} must be a number where WORLD_SIZE is set, got {text!r}; start ranks with torchrun.")
    return int(text)
