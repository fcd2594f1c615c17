"""Same seed, machine and thread count, same bits: for training, sampling and scoring."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from gancli.cli import main
from gancli.data.torchfile import digest, read_torch_file

# Wide enough that several threads share the work of a layer.
TRAIN = [
    "train",
    "--dataset=./images.npy",
    "--generator=dense 128 relu, dense 128 relu, dense out sigmoid bias=marginal",
    "--discriminator=maxout 64x5 irange=0.05, maxout 64x5 irange=0.05, dense 1 sigmoid irange=0.05",
    "--epochs=2",
    "--num-samples=500",
    "--seed=3",
    "--json",
]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def gancli(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def everything(run: str) -> list[Any]:
    """Train, sample and score; return all that must not depend on when that is done."""
    trained = gancli(*TRAIN, f"--out={run}")
    gancli("sample", f"--run={run}", "--num=700", "--seed=5", "--out=out.npy", "--json")
    scored = gancli("parzen", "--samples=out.npy", "--dataset=./images.npy", "--json")
    last, samples = (read_torch_file(Path(run, name)) for name in ("checkpoints/last.pt", "samples.pt"))
    del last["seconds"], last["row"]["seconds"], scored["seconds"], trained["parzen"]["seconds"], samples["run"]
    pictures = [path.read_bytes() for path in sorted(Path(run, "samples").iterdir())]
    return [digest(last), digest(samples), pictures, Path("out.npy").read_bytes(), scored, trained["parzen"]]


def test_train_sample_and_parzen_repeat_to_the_bit(threads: int) -> None:
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (600, 1, 12, 12), dtype=np.uint8))
    assert everything("first") == everything("second")


def test_training_leaves_the_global_random_states_alone_and_does_not_depend_on_them() -> None:
    """So that the states in a checkpoint are all that there are."""
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (600, 1, 12, 12), dtype=np.uint8))
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 (the global one is meant)
    before = [random.getstate(), torch.get_rng_state().tolist(), repr(np.random.get_state())]  # noqa: NPY002
    first = everything("first")
    assert [random.getstate(), torch.get_rng_state().tolist(), repr(np.random.get_state())] == before  # noqa: NPY002
    torch.manual_seed(99)
    random.seed(99)
    assert everything("second") == first
