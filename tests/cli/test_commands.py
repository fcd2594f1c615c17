"""The command line as people use it: exit codes, exact words, what lands where, and never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from PIL import Image
from typed import TINY, gancli, size_of

from gancli.cli import main


def test_train_ends_with_folder_picture_score_and_next_commands(images: str) -> None:
    result = gancli("train", "--dataset", images, *TINY, "--out", "runs/tiny")
    assert result.exit_code == 0
    for words in (
        "Run folder  runs/tiny",
        "runs/tiny/samples/epoch-0002.png",
        "runs/tiny/samples.pt",
        "nats at σ =",
        "gancli sample --interpolate",
        "gancli train --resume runs/tiny",
    ):
        assert words in result.stdout
    assert "loss D" in result.stderr
    assert "Parzen/nats" in result.stderr


def test_train_json_is_one_object_with_the_promised_keys(images: str) -> None:
    result = gancli("train", "--dataset", images, *TINY, "--json")
    summary = json.loads(result.stdout)
    assert {"run", "steps", "epochs", "seconds", "steps_per_second", "checkpoint", "samples", "parzen"} <= set(summary)
    assert (summary["steps"], summary["epochs"]) == (10, 2)
    assert Path(summary["run"]).name.startswith("small-mnist-")


def test_dry_run_prints_the_settings_and_leaves_nothing() -> None:
    result = gancli("train", "--preset", "cifar10", "--lr", "0.5", "--dry-run")
    settings = json.loads(result.stdout)
    assert (settings["lr"], settings["preprocessing"], settings["preset"]) == (0.5, "gcn", "cifar10")
    assert not Path("runs").exists()


def test_resume_continues_with_the_runs_own_settings(run: str) -> None:
    result = gancli("train", "--resume", run, "--epochs", "3", "--json")
    assert json.loads(result.stdout)["steps"] == 15
    assert json.loads(Path(run, "config.json").read_text())["epochs"] == 3
    assert len(Path(run, "metrics.jsonl").read_text().splitlines()) == 3


def test_sample_then_parzen_work_as_typed(run: str, images: str) -> None:
    drawn = gancli("sample", "--num", "60")
    assert drawn.exit_code == 0
    assert "gancli parzen --samples out.pt" in drawn.stdout
    scored = gancli("parzen", "--samples", "out.pt", "--json", "--plot", "sigma.png")
    score = json.loads(scored.stdout)
    keys = "log_likelihood standard_error sigma sigmas validation_log_likelihood num_samples num_test num_validation"
    assert {*keys.split(), "dataset", "backend", "seconds"} <= set(score)
    assert (score["num_samples"], score["dataset"]) == (60, images)
    assert size_of("sigma.png")[0] > 400
    assert "Warning: Made from 60 samples" in scored.stderr


def test_parzen_of_a_run_uses_its_samples(run: str) -> None:
    of_run = json.loads(gancli("parzen", "--run", run, "--num-samples", "50", "--json").stdout)
    of_file = json.loads(gancli("parzen", "--samples", f"{run}/samples.pt", "--json").stdout)
    assert of_run["log_likelihood"] == of_file["log_likelihood"]
    summary = json.loads(Path(run, "summary.json").read_text())
    assert of_run["log_likelihood"] == summary["parzen"]["estimate"]["log_likelihood"]


def test_parzen_in_words_names_samples_sigma_rule_and_validation_size(run: str) -> None:
    result = gancli("parzen", "--samples", f"{run}/samples.pt")
    assert "(best of 10 on the validation examples)" in result.stdout
    assert "refined" in result.stdout
    assert "50 samples, 12 test and 12 validation" in result.stdout


def test_parzen_scores_folders_of_images_from_anywhere(images: str) -> None:
    folder = Path("other-model")
    folder.mkdir()
    for i, pixels in enumerate(np.random.default_rng(1).integers(0, 256, (15, 6, 6), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    score = json.loads(gancli("parzen", "--samples", "other-model", "--dataset", images, "--json").stdout)
    assert score["num_samples"] == 15


def test_info_says_what_is_there_and_what_is_missing() -> None:
    content = json.loads(gancli("info", "--json").stdout)
    assert {"version", "python", "torch", "devices", "cpu", "cuda"} <= set(content)
    assert {"built", "isa", "threads"} <= set(content["cpu"])
    assert {"built", "archs", "usable", "reason"} <= set(content["cuda"])
    words = gancli("info").stdout
    assert "cifar10-conv" in words
    assert content["cuda"]["usable"] or content["cuda"]["reason"]


# arguments, exit code, what the one sentence must say
BAD_USE = [
    (["train", "--preset", "minst"], 2, "Did you mean 'mnist'?"),
    (["train", "--dataset", "minst"], 2, "did you mean mnist"),
    (["train", "--dataset", "mnist", "--data-dir", "nowhere"], 1, "gancli data download mnist"),
    (["train", "--lr", "-1"], 2, "--lr must be above 0 and at most 1e+30, got -1.0"),
    (["train", "--lr", "fast"], 2, "not a valid float"),
    (["train", "--device", "tpu9"], 2, "--device must be auto, cpu, cuda or cuda:N"),
    (["train", "--device", "cuda:99"], 2, "sees"),
    (["train", "--backend", "magic"], 2, "must be one of auto, torch, native"),
    (["train", "--resume", "runs/none"], 1, "no run folder runs/none"),
    (["train", "--preset", "tfd"], 2, "--pretrained RUN must name its run"),
    (["sample"], 1, "no run under runs/ yet; train one with: gancli train"),
    (["sample", "--interpolate", "--nearest"], 2, "ask for one at a time"),
    (["parzen"], 1, "no run under runs/ yet"),
    (["parzen", "--samples", "none.pt"], 1, "none.pt does not exist"),
    (["parzen", "--sigma", "0.1", "--sigmas", "0.1:1:3"], 2, "give one of them"),
    (["parzen", "--sigma", "-3"], 2, "--sigma must be a positive number, got -3.0"),
    (["parzen", "--sigmas", "1"], 2, "--sigmas must be LO:HI:N such as 0.1:1:10, got '1'"),
    (["parzen", "--sigmas", "1:0.1:5"], 2, "A σ grid needs"),
    (["parzen", "--samples", "a", "--run", "b"], 2, "give one of them"),
    (["parzen", "--samples", "a", "--seed", "3"], 2, "Leave --seed out"),
    (["train", "-n", "--dataset", "minst"], 2, "did you mean mnist"),
    (["train", "-n", "--dataset", "./none.npy"], 2, "./none.npy does not exist"),
    (["conquer"], 2, "No such command"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"), BAD_USE, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_use_gets_one_sentence_and_an_exit_code(arguments: list[str], code: int, sentence: str) -> None:
    result = gancli(*arguments)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("Error: ") == 1
    assert not Path("runs").exists()


def test_a_number_with_more_digits_than_python_reads_is_one_sentence() -> None:
    result = gancli("train", "-n", "--generator", f"dense {'9' * 5000} relu, dense out sigmoid")
    assert result.exit_code == 2
    assert "expected a size such as 1200" in result.stderr


def write(path: str, values: object) -> None:
    if path.endswith(".npy"):
        np.save(path, values)  # type: ignore[arg-type]
    else:
        torch.save(values, path)


class NotPlain:
    """Something that only a pickle could carry."""


BAD_SAMPLES = {
    "nan.npy": (np.array([[[[0.5, np.nan]]]], dtype=np.float32), "NaN"),
    "shape.npy": (np.zeros((4, 1, 5, 5), dtype=np.float32), "6"),
    "objects.pt": ({"samples": NotPlain()}, "carries more than tensors and plain values"),
    "empty.pt": ({"a": torch.zeros(1)}, "holds no samples"),
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_bad_samples_get_one_sentence(name: str, images: str) -> None:
    values, sentence = BAD_SAMPLES[name]
    write(name, values)
    result = gancli("parzen", "--samples", name, "--dataset", images)
    assert result.exit_code == 1
    assert sentence.lower() in result.stderr.lower()
    assert result.stderr.count("\n") == 1


def test_samples_that_do_not_name_their_data_set_ask_for_it(images: str) -> None:
    write("other.npy", np.zeros((4, 1, 6, 6), dtype=np.float32))
    result = gancli("parzen", "--samples", "other.npy")
    assert result.exit_code == 2
    assert "name the data set with --dataset" in result.stderr


def test_samples_made_for_another_data_set_are_scored_with_a_warning(run: str) -> None:
    np.save("others.npy", np.random.default_rng(1).integers(0, 256, (1100, 1, 6, 6), dtype=np.uint8))
    result = gancli("parzen", "--samples", f"{run}/samples.pt", "--dataset", "others.npy")
    assert result.exit_code == 0, result.output
    assert "Warning: The samples were made for ./small.npy and are compared with others.npy." in result.stderr


def test_settings_of_learning_cannot_change_on_resume(run: str) -> None:
    result = gancli("train", "--resume", run, "--lr", "0.5")
    assert result.exit_code == 2
    assert "--lr cannot change while a run goes on" in result.stderr


def test_an_unwritable_place_is_named(images: str) -> None:
    Path("file").write_text("not a folder")
    result = gancli("train", "--dataset", images, *TINY, "--out", "file/run")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "file" in result.stderr


def walk(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += walk(command, (*path, name))
    return found


@pytest.mark.parametrize("path", walk(main), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    result = gancli(*path, "--help")
    assert result.exit_code == 0
    assert f"\n  gancli {' '.join(path)}" in result.stdout
    assert "\\b" not in result.stdout  # the mark that keeps click from joining lines


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    missing = [" ".join(path) for path in walk(main) if f"gancli {' '.join(path)}" not in readme]
    assert not missing


def test_help_loads_no_torch_and_answers_at_once() -> None:
    code = "import sys, gancli.cli; print([m for m in ('torch', 'numpy', 'matplotlib', 'rich') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

    def seconds(command: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - start

    # Against the interpreter's own start on this machine, since an absolute time would test the machine.
    bare = min(seconds([sys.executable, "-c", "import click"]) for _ in range(3))
    full = min(seconds([sys.executable, "-m", "gancli", "--help"]) for _ in range(3))
    assert full < 6 * bare


def test_module_and_script_are_the_same_program() -> None:
    answer = subprocess.run([sys.executable, "-m", "gancli", "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("gancli, version ")


def test_a_million_or_so_samples_stream_with_a_convergence_table(run: str) -> None:
    few = json.loads(gancli("parzen", "--run", run, "--num-samples", "10000", "--json").stdout)
    result = gancli("parzen", "--run", run, "--num-samples", "12000", "--json", "--plot", "convergence.png")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["num_samples"] == 12_000
    rows = {row["num_samples"]: row for row in content["convergence"]}
    assert list(rows) == [1000, 2000, 5000, 10_000, 12_000]
    # the stream's first 10,000 samples are the ones that are drawn at once
    assert rows[10_000]["log_likelihood"] == pytest.approx(few["log_likelihood"], abs=1e-3)
    assert size_of("convergence.png")[0] > 400
    for num in ("10000", "12000"):
        refused = gancli("parzen", "--run", run, "--num-samples", num, "--preprocessing", "gcn")
        assert refused.exit_code == 2
        assert "--preprocessing gcn contradicts the samples, which were made with scale" in refused.stderr
    words = gancli("parzen", "--run", run, "--num-samples", "12000").stdout
    assert "12,000" in words
    assert "best of 10" in words


def test_a_stream_is_warned_of_as_samples_that_are_kept(run: str) -> None:
    np.save("other.npy", np.random.default_rng(2).random((50, 1, 6, 6)) * 9)
    for num in ("10000", "12000"):
        command = ["parzen", "--run", run, "--num-samples", num, "--sigma", "0.01", "--dataset", "./other.npy"]
        warned = gancli(*command).stderr
        for words in ("leave --sigma out to choose it", "are compared with ./other.npy"):
            assert words in warned, num
    np.save("other.npy", np.random.default_rng(2).random((50, 1, 6, 6)) / 9)
    for num in ("10000", "12000"):
        warned = gancli("parzen", "--run", run, "--num-samples", num, "--dataset", "./other.npy").stderr
        assert "are they in the same unit?" in warned, num


def test_flat_rows_are_scored_as_the_images_they_are(images: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (150, 6, 6), dtype=np.uint8)
    np.save("images.npy", pixels)
    np.save("rows.npy", pixels.reshape(150, 36))
    np.save("others.npy", pixels.reshape(300, 18))
    for command in (["parzen"], ["evaluate", "--neighbours", "3"]):
        found = []
        for name in ("images.npy", "rows.npy"):
            answer = gancli(*command, "--samples", name, "--dataset", images, "--json")
            found.append((answer.exit_code, *(answer.stderr or "").splitlines()[-1:]))
            if answer.exit_code == 0:
                content = json.loads(answer.stdout)
                content.pop("seconds")
                found[-1] = content
        assert found[0] == found[1]
        refused = gancli(*command, "--samples", "others.npy", "--dataset", images)
        assert refused.exit_code == 1
        assert "(n, channels, height, width), or to rows (n, 36)" in refused.stderr


@pytest.mark.parametrize("name", ["[b]x", "x[/y]", "two words"])
def test_any_name_of_a_run_is_written_as_it_is(images: str, name: str) -> None:
    done = gancli("train", "--dataset", images, *TINY, "--out", f"elsewhere/{name}")
    assert done.exit_code == 0, done.output
    assert f"run folder elsewhere/{name}" in done.stderr
    # Outside of runs/, so that the commands to go on with name it.
    (command,) = (line.strip() for line in done.stdout.splitlines() if "gancli parzen" in line)
    assert gancli(*shlex.split(command)[1:]).exit_code == 0


def test_ones_own_data_are_the_same_however_their_place_is_written(run: str, images: str) -> None:
    warned = gancli("parzen", "--run", run, "--dataset", os.path.abspath(images)).stderr
    assert "are compared with" not in warned


def test_a_run_that_steps_ended_goes_on_as_it_says(images: str) -> None:
    done = gancli("train", "--dataset", images, *TINY, "--steps", "7", "--out", "runs/short")
    (command,) = (line.strip() for line in done.stdout.splitlines() if "--resume" in line)
    on = gancli(*shlex.split(command.replace("N", "3"))[1:], "--json")
    assert json.loads(on.stdout)["steps"] == 15
    for options, words in ((["--steps", "9"], "--steps 9: runs/short has 15"), (["--epochs", "1"], "has 3 behind it")):
        refused = gancli("train", "--resume", "runs/short", *options)
        assert refused.exit_code == 2
        assert words in refused.stderr
    assert json.loads(Path("runs/short/config.json").read_text())["epochs"] == 3


def test_a_plot_that_cannot_be_drawn_costs_no_figure(run: str) -> None:
    refused = gancli("parzen", "--plot", "a.jpg")
    assert (refused.exit_code, refused.stdout) == (2, "")
    Path("file").write_text("")
    answer = gancli("parzen", "--plot", "file/a.png", "--json")
    assert answer.exit_code == 1
    assert "log_likelihood" in json.loads(answer.stdout)


def test_pretrained_without_such_a_layer_is_refused(run: str, images: str) -> None:
    refused = gancli("train", "--dataset", images, *TINY, "--pretrained", run)
    assert refused.exit_code == 2
    assert "the generator, which has none" in refused.stderr
    assert "cpu, cuda or cuda:N, got 'cpu:3'" in gancli("train", "--dataset", images, "--device", "cpu:3").stderr
    assert gancli("train", "--dataset", "").exit_code == 2
