"""What the faults have in common: a cheap way to run commands that end badly, and the fingerprint of a run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gancli.data.torchfile import digest, read_torch_file
from gancli.train.run_folder import RunFolder

EPOCHS, ITERATIONS = 6, 5
TRAIN = [
    "train",
    "--dataset=./small.npy",
    "--generator=dense 8 relu, dense out sigmoid bias=marginal",
    "--discriminator=maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
    "--noise-dim=5",
    "--batch-size=20",
    f"--epochs={EPOCHS}",
    "--num-samples=50",
    "--out=run",
]
RESUME = ["train", "--resume=run"]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that killed it."""

    code: int
    seconds: float
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The error, if it is one: a single line and no traceback."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr, self.stderr
        return lines[0]


class Zygote:
    """Runs gancli commands in forked processes; see zygote.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        script = Path(__file__).with_name("zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def send(self, **order: Any) -> dict[str, Any]:
        """Give an order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def run(self, cwd: Path, arguments: list[str], **order: Any) -> Ended:
        """Run a command to its end, whatever that is."""
        answer = self.send(cwd=str(cwd), arguments=arguments, **order)
        return self.ended(cwd, answer)

    def ended(self, cwd: Path, answer: dict[str, Any]) -> Ended:
        """Return how a command ended, with what it printed."""
        texts = {name: (cwd / f".{name}").read_text(encoding="utf-8") for name in ("stdout", "stderr")}
        return Ended(answer["code"], answer["seconds"], **texts)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def workplace(path: Path) -> Path:
    """Make a folder with a small data set, for a run called "run"."""
    path.mkdir(exist_ok=True)
    np.save(path / "small.npy", np.random.default_rng(0).integers(0, 256, (125, 1, 4, 4), dtype=np.uint8))
    return path


def fingerprint(path: Path) -> dict[str, Any]:
    """Everything in a run folder that is to be the same to the bit, and no time."""
    run = RunFolder(path)
    summary = json.loads(run.summary_file.read_text(encoding="utf-8"))
    return {
        "last": digest(without_times(read_torch_file(run.last))),
        "best": digest(read_torch_file(run.best)),
        "samples": digest(read_torch_file(run.samples_file)),
        "metrics": [timeless(row) for row in run.read_metrics()],
        "parzen": timeless(summary["parzen"]),
        "config": run.config_file.read_text(encoding="utf-8"),
        "files": {
            str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() if file.suffix == ".png" else ""
            for file in sorted(path.rglob("*"))
            if file.is_file()
        },
    }


def without_times(last: dict[str, Any]) -> dict[str, Any]:
    """Return the content of last.pt without its times."""
    return {**timeless(last), "row": timeless(last["row"])}


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of metrics without its time."""
    return {key: value for key, value in row.items() if key != "seconds"}
