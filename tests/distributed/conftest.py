"""Jobs of several ranks as torchrun starts them, without its seconds: forks of a server that has loaded torch."""

from __future__ import annotations

import multiprocessing
import runpy
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
import torch.distributed as dist

import gancli

WORKER = Path(__file__).with_name("worker.py")
SECONDS = 120
PRELOADED = ["gancli.cli.train", "gancli.train.sampling", "gancli.train.trainer", "gancli.figures.convergence"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs without torchrun have one thread too, as ranks have: on another number sums end in other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Job:
    """A number of ranks that run one function of worker.py. The test holds the store, as torchrun's agent does."""

    def __init__(self, folder: Path, size: int, function: str, arguments: tuple[Any, ...], attempt: int) -> None:
        self._folder = folder
        self._store = dist.TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=9)
        )
        context = multiprocessing.get_context("forkserver")
        self._processes = []
        for rank in range(size):
            environment = {
                "RANK": rank,
                "WORLD_SIZE": size,
                "LOCAL_RANK": rank,
                "LOCAL_WORLD_SIZE": size,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": self._store.port,
                "TORCHELASTIC_USE_AGENT_STORE": True,
                "TORCHELASTIC_RESTART_COUNT": attempt,
                "TORCHELASTIC_MAX_RESTARTS": 1,
            }
            given = {
                "JOB": function,
                "ARGUMENTS": arguments,
                "ENVIRONMENT": {name: str(value) for name, value in environment.items()},
                "LOG": str(folder / str(rank)),
                "PACKAGE": gancli.__file__,
            }
            process = context.Process(target=runpy.run_path, args=(str(WORKER), given, "__main__"), daemon=True)
            process.start()
            self._processes.append(process)

    def wait(self) -> list[int | None]:
        """Return the ranks' exit codes, negative for signals."""
        for process in self._processes:
            process.join(SECONDS)
        codes = [process.exitcode for process in self._processes]
        self.end()
        assert None not in codes, f"a rank hangs; {self.errors()}"
        return codes

    def wait_for(self, rank: int) -> int | None:
        """Return one rank's exit code and end the others."""
        self._processes[rank].join(SECONDS)
        self.end()
        return self._processes[rank].exitcode

    def end(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.kill()

    def output(self) -> list[str]:
        """What each rank wrote to its standard output."""
        return [(self._folder / f"{rank}.1").read_text() for rank in range(len(self._processes))]

    def errors(self) -> list[str]:
        """What each rank wrote to its standard error."""
        return [(self._folder / f"{rank}.2").read_text() for rank in range(len(self._processes))]


class Launch(Protocol):
    def __call__(self, size: int, function: str, *arguments: Any, attempt: int = 0) -> Job: ...


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    multiprocessing.set_forkserver_preload(PRELOADED)
    # The server imports from the folder that it starts in before all others. In the source tree that would be a gancli
    # without its compiled modules, whose torch path ends in other bits.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("server"))
        forkserver.ensure_running()
    jobs: list[Job] = []

    def start(size: int, function: str, *arguments: Any, attempt: int = 0) -> Job:
        jobs.append(Job(tmp_path_factory.mktemp("job"), size, function, arguments, attempt))
        return jobs[-1]

    yield start
    for job in jobs:
        job.end()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "small.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8))
    return str(path)
