"""The same under torchrun itself, which takes its time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gancli.train.checkpoints import load_checkpoint
from gancli.train.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes under /proc"),
]
SECONDS = 300


def start(ranks: int, images: str, out: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    layers = [
        "--generator=dense 8 relu, dense out sigmoid bias=marginal",
        "--discriminator=maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
        "--noise-dim=5",
        "--batch-size=20",
        "--epochs=20",
    ]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts=2"]
    command = [sys.executable, *torchrun, f"--master-port={port}", "-m", "gancli", "train", "--dataset", images]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *layers, "--out", out],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process_of_rank(rank: int, agent: int) -> int:
    """The process that torchrun started as this rank."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and f"RANK={rank}" in (process / "environ").read_text().split("\0"):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"rank {rank} has no process")


def weights(run: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(RunFolder(Path(run)).last)["G"]
    return found


def test_a_killed_rank_does_not_change_where_the_job_ends(images: str) -> None:
    with start(2, images, "whole") as job:
        assert job.wait(SECONDS) == 0, job.stderr.read() if job.stderr else ""
    with start(2, images, "killed") as job:
        deadline = time.monotonic() + SECONDS
        while len(RunFolder(Path("killed")).read_metrics()) < 5:
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.05)
        os.kill(process_of_rank(1, job.pid), signal.SIGKILL)
        _, errors = job.communicate(timeout=SECONDS)
    assert job.returncode == 0, errors
    assert errors.count("Resuming at iteration") == 1
    assert "Error: Rank 0 has lost the others" in errors
    rows = [[{**row, "seconds": 0} for row in RunFolder(Path(run)).read_metrics()] for run in ("whole", "killed")]
    assert len(rows[0]) == 20
    assert rows[0] == rows[1]
    for name, weight in weights("whole").items():
        assert torch.equal(weight, weights("killed")[name])


def test_one_rank_is_a_run_without_torchrun(images: str) -> None:
    with start(1, images, "under") as job:
        assert job.wait(SECONDS) == 0, job.stderr.read() if job.stderr else ""
    arguments = job.args[job.args.index("train") :]  # type: ignore[index,union-attr]
    arguments[-1] = "plain"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "gancli", *arguments], env=environment, check=True, capture_output=True)
    for name, weight in weights("under").items():
        assert torch.equal(weight, weights("plain")[name])
    assert (Path("under") / "samples.pt").exists()
