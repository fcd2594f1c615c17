"""Runs of several ranks from the first command to the last: one writer, one voice, and a way back after every end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from gancli.cli import main
from gancli.train.checkpoints import load_checkpoint
from gancli.train.run_folder import RunFolder

TINY = [
    "--generator=dense 8 relu, dense out sigmoid bias=marginal",
    "--discriminator=maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
    "--noise-dim=5",
    "--batch-size=20",
    "--epochs=4",
    "--num-samples=2500",
    "--average=0.9",
]
SIGTERM = 128 + 15


def train(images: str, out: str, *more: str) -> tuple[str, ...]:
    return ("train", "--dataset", images, *TINY, "--out", out, *more)


def state(run: str) -> dict[str, Any]:
    return load_checkpoint(RunFolder(Path(run)).last)


def assert_same_end(a: str, b: str) -> None:
    """Two runs came to the same bits, and left the same files and figures."""
    first, second = state(a), state(b)
    for player in ("G", "D", "average"):
        for name, weight in first[player].items():
            assert torch.equal(weight, second[player][name]), f"{player}, {name}"
    assert torch.equal(first["rng"], second["rng"])
    rows = [[{**row, "seconds": 0} for row in RunFolder(Path(run)).read_metrics()] for run in (a, b)]
    assert rows[0] == rows[1]
    files = [{str(p.relative_to(run)) for p in Path(run).rglob("*") if p.is_file()} for run in (a, b)]
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def whole(images: str, launch: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of two ranks that nothing disturbed."""
    run = str(tmp_path_factory.mktemp("whole") / "run")
    job = launch(2, "command", *train(images, run))
    assert job.wait() == [0, 0], job.errors()
    assert "Run folder" in job.output()[0]
    assert "2 ranks" in job.errors()[0]
    assert (job.output()[1], job.errors()[1]) == ("", "")
    return run


def test_a_killed_rank_ends_the_job_and_the_next_attempt_comes_to_the_same_end(
    images: str, whole: str, launch: Any
) -> None:
    job = launch(2, "faulty_command", "SIGKILL", 1, 7, *train(images, "killed"))
    assert job.wait() == [1, -9]
    assert "Error: Rank 0 has lost the others" in job.errors()[0]
    assert "Traceback" not in job.errors()[0]
    assert state("killed")["step"] == 5
    job = launch(2, "command", *train(images, "killed"), attempt=1)
    assert job.wait() == [0, 0], job.errors()
    assert "Resuming at iteration 5" in job.errors()[0]
    assert_same_end(whole, "killed")


def test_an_attempt_with_fewer_ranks_keeps_the_minibatch_that_was_so_much_for_each(images: str, launch: Any) -> None:
    arguments = [*train(images, "elastic"), "--batch-per-rank", "--batch-size=10"]
    assert launch(2, "faulty_command", "SIGKILL", 1, 7, *arguments).wait() == [1, -9]
    job = launch(1, "command", *arguments, attempt=1)
    assert job.wait() == [0], job.errors()
    assert "Resuming at iteration 5" in job.errors()[0]
    assert json.loads(Path("elastic/config.json").read_text())["batch_size"] == 20


def test_a_rank_that_hangs_is_not_waited_for_without_end(images: str, launch: Any) -> None:
    job = launch(2, "stalled_command", 5, *train(images, "stalled"))
    assert job.wait_for(0) == 1
    assert "Error: Rank 0 has lost the others: one of them ended or hangs" in job.errors()[0]
    assert state("stalled")["step"] == 5


def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(images: str, whole: str, launch: Any) -> None:
    job = launch(2, "faulty_command", "SIGTERM", 1, 7, *train(images, "stopped"))
    assert job.wait() == [SIGTERM, SIGTERM]
    assert "Stopped after iteration 7; everything is saved" in job.output()[0]
    assert job.errors()[1] == ""
    job = launch(2, "command", "train", "--resume", "stopped")
    assert job.wait() == [0, 0], job.errors()
    assert_same_end(whole, "stopped")


def test_a_checkpoint_of_two_ranks_goes_on_with_one_and_with_four(images: str, whole: str, launch: Any) -> None:
    job = launch(2, "command", *train(images, "two", "--steps=7"))
    assert job.wait() == [0, 0], job.errors()
    for copy in ("one", "four", "again"):
        shutil.copytree("two", copy)
    result = CliRunner().invoke(main, ["train", "--resume", "one", "--steps=20"])
    assert result.exit_code == 0, result.output
    for copy in ("four", "again"):
        job = launch(4, "command", "train", "--resume", copy, "--steps=20")
        assert job.wait() == [0] * 4, job.errors()
    assert_same_end("four", "again")
    # A checkpoint holds the weights, not all of the common memory that they lie in.
    alone, shared = (RunFolder(Path(run)).last.stat().st_size - state(run)["rng"].numel() for run in ("one", "four"))
    assert abs(shared - alone) < 2000
    for run, ranks in (("one", 1), ("four", 4)):
        assert [row["step"] for row in RunFolder(Path(run)).read_metrics()] == [5, 7, 10, 15, 20]
        streams = state(run)["rng"]
        assert len(streams) == len({bytes(stream.numpy()) for stream in streams}) == ranks
        # other noise from iteration 7 on, so other weights than two ranks', though near them
        for name, weight in state(whole)["G"].items():
            other = state(run)["G"][name]
            assert not torch.equal(weight, other)
            torch.testing.assert_close(weight, other, rtol=0, atol=0.05)


def test_machines_without_a_common_file_system_train_together(images: str, launch: Any) -> None:
    """Rank 0 alone has the run folder, and that of the pretrained generator."""
    job = launch(2, "distant_command", *train(images, "first", "--epochs=1"))
    assert job.wait() == [0, 0], job.errors()
    second = ("--pretrained=first", "--generator=dense 7 relu, dense 5 sigmoid, pretrained", "--epochs=1")
    job = launch(2, "distant_command", *train(images, "second", *second))
    assert job.wait() == [0, 0], job.errors()
    assert "Run folder  second" in job.output()[0]
    assert state("machine-0/second")["step"] == 5
    job = launch(2, "distant_command", "train", "--dry-run", "--resume", "second", "--epochs=9")
    assert job.wait() == [0, 0], job.errors()
    assert json.loads(job.output()[0])["epochs"] == 9
    assert job.output()[1] == ""
    assert not any(Path("machine-1").iterdir())


def test_one_rank_of_torchrun_is_a_run_without_it(images: str, launch: Any) -> None:
    assert launch(1, "command", *train(images, "under")).wait() == [0]
    result = CliRunner().invoke(main, train(images, "plain"))
    assert result.exit_code == 0, result.output
    assert_same_end("plain", "under")


def test_batch_per_rank_makes_the_minibatch_of_the_run(images: str, launch: Any) -> None:
    assert launch(2, "command", *train(images, "run", "--batch-per-rank", "--epochs=1")).wait() == [0, 0]
    config = json.loads(Path("run/config.json").read_text())
    assert config["batch_size"] == 40
    assert state("run")["step"] == 2  # 101 examples


def test_scores_on_two_ranks_are_those_of_one(images: str, whole: str, launch: Any) -> None:
    for more in (("--num-samples=2000",), ("--num-samples=12345",)):
        arguments = ("parzen", "--run", whole, "--json", *more)
        job = launch(2, "command", *arguments, "--plot", "curve.png")
        assert job.wait() == [0, 0], job.errors()
        shared, alone = json.loads(job.output()[0]), json.loads(CliRunner().invoke(main, arguments).stdout)
        assert job.output()[1] == ""
        assert Path("curve.png").exists()
        for key in ("log_likelihood", "standard_error", "validation_log_likelihood"):
            assert shared[key] == pytest.approx(alone[key], abs=1e-4)
        for key in ("sigma", "num_samples", "num_test", "num_validation", "dataset"):
            assert shared[key] == alone[key]


@pytest.mark.parametrize(
    ("arguments", "sentence", "codes"),
    [
        (("--batch-size=21",), "--batch-size 21 cannot be shared evenly by 2 ranks", [2, 2]),
        (("--epochs=0",), "--epochs must be at least 1", [2, 1]),
        (("--nonsense",), "No such option", [2, 2]),
        (("--device=cuda:0",), "--device cuda:0", [2, 2]),
        (("--dataset=./none.npy",), "none.npy", [1, 1]),
        (("--resume=here",), "There is no run folder here", [1, 1]),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_a_refusal_is_one_sentence(
    images: str, launch: Any, arguments: tuple[str, ...], sentence: str, codes: list[int]
) -> None:
    if torch.cuda.device_count() and "cuda:0" in sentence:
        pytest.skip("there is a GPU")
    base = train(images, "run")[:-2] if "resume" in arguments[0] else train(images, "run")
    job = launch(2, "command", *base, *arguments)
    assert job.wait() == codes
    said = "".join(job.errors())
    assert sentence in said
    assert said.count("Error: ") == 1
    assert "Traceback" not in said


def test_other_commands_run_in_one_process(launch: Any) -> None:
    job = launch(2, "command", "sample")
    assert job.wait() == [2, 2]
    assert "".join(job.errors()) == "Error: gancli sample runs in one process; start it without torchrun.\n"


def test_a_job_that_may_begin_again_needs_a_named_folder(images: str, launch: Any) -> None:
    job = launch(2, "command", *train(images, "run")[:-2])
    assert job.wait() == [2, 1]
    assert "name its folder with --out" in "".join(job.errors())
