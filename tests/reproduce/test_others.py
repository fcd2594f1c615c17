"""CIFAR-10, TFD and the figures on a tiny scale, end to end."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gancli.cli import main
from gancli.data.samples import read_samples
from gancli.errors import DataError, UsageError
from gancli.presets import PRESETS
from gancli.reproduce.cifar10 import reproduce_cifar10
from gancli.reproduce.data import load_checked
from gancli.reproduce.figures import reproduce_figures
from gancli.reproduce.runs import training_seconds
from gancli.reproduce.table1 import reproduce_table1
from gancli.reproduce.targets import CIFAR10, TABLE1_MNIST, Target
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

SMALL_D = "maxout 8x3 irange=0.005, dense 1 sigmoid irange=0.005"


@pytest.fixture
def colours(tmp_path: Path) -> Target:
    """Figure 2 c and d on 125 colour images of 8×8 pixels."""
    path = tmp_path / "colours.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (125, 3, 8, 8), dtype=np.uint8))
    settings = {
        "generator": "dense 20 relu irange=0.05, dense out linear irange=0.5",
        "discriminator": SMALL_D,
        "batch_size": 20,
        "epochs": 2,
        "num_samples": 60,
    }
    return dataclasses.replace(CIFAR10, dataset=str(path), settings=settings)


def test_cifar10_trains_both_draws_grids_and_compares_distances(colours: Target, tmp_path: Path, quiet: Any) -> None:
    out = tmp_path / "out"
    result = reproduce_cifar10(colours, out, presets=colours.presets, changes={}, watch=quiet())
    assert [row["preset"] for row in result["runs"]] == ["cifar10", "cifar10-conv"]
    for row, name in zip(result["runs"], ("figure2c", "figure2d"), strict=True):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.mode == "RGB"
        samples = read_samples(out / row["preset"] / "samples.pt").samples.flatten(1).double().numpy()
        distances = [np.linalg.norm(samples[i] - samples[j]) for i in range(60) for j in range(i)]
        assert row["samples_distance"] == pytest.approx(np.mean(distances))
        assert row["distance_ratio"] == row["samples_distance"] / row["data_distance"]
        # After gcn every image has norm 55, so that independent ones are about 55·√2 apart.
        assert row["data_distance"] == pytest.approx(55 * 2**0.5, rel=0.02)
        warned = any("mean pairwise distance" in sentence for sentence in row["warnings"])
        assert warned == (not 0.5 <= row["distance_ratio"] <= 2)
    assert "| `cifar10` | 2 (10 iterations) |" in (out / "result.md").read_text()
    again = quiet()
    reproduce_cifar10(colours, out, presets=["cifar10"], changes={}, watch=again)
    assert again.trained == []
    both = reproduce_cifar10(colours, out, presets=["cifar10", "cifar10-tuned"], changes={}, watch=quiet())
    assert [Path(row["picture"]).name for row in both["runs"]] == ["figure2c.png", "figure2c-cifar10-tuned.png"]


def test_cifar10_refuses_presets_of_other_data_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained"))
    sentences = {"mnist": "is made for mnist; cifar10 takes cifar10, ", "cifar": "Did you mean 'cifar10'"}
    for name, sentence in sentences.items():
        refused = CliRunner().invoke(main, ["reproduce", "cifar10", "--preset", "cifar10", "--preset", name])
        assert refused.exit_code == 2
        assert sentence in refused.stderr


def test_figures_are_drawn_from_the_runs_that_are_there(
    colours: Target, tiny: Target, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce_table1(
        tiny, Path("runs/table1-mnist"), preset="mnist", seeds=1, changes={}, curve_samples=100, watch=quiet()
    )
    reproduce_cifar10(colours, Path("runs/cifar10"), presets=["cifar10"], changes={}, watch=quiet())
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained"))
    content = json.loads(CliRunner().invoke(main, ["reproduce", "figures", "--json"], catch_exceptions=False).stdout)
    assert {name: about["files"] for name, about in content["figures"].items()} == {
        "figure2a": ["figures/figure2a.png"],
        "figure3": ["figures/figure3.png", "figures/figure3.gif"],
        "figure2c": ["figures/figure2c.png"],
    }
    assert [sentence.split(":")[0] for sentence in content["missing"]] == ["figure2b", "figure2d"]
    assert all(Path(file).exists() for about in content["figures"].values() for file in about["files"])
    Path("runs/cifar10/cifar10").rename("runs/cifar10/cifar10-tuned")
    content = json.loads(CliRunner().invoke(main, ["reproduce", "figures", "--json"], catch_exceptions=False).stdout)
    assert content["figures"]["figure2c"]["run"] == "runs/cifar10/cifar10-tuned"
    Path("runs/cifar10/cifar10-tuned").rename("runs/cifar10/cifar10")
    Path("runs/table1-mnist").rename("runs/table1-mnist-tuned")
    content = json.loads(CliRunner().invoke(main, ["reproduce", "figures", "--json"], catch_exceptions=False).stdout)
    assert content["figures"]["figure2a"]["run"] == "runs/table1-mnist-tuned/seed-1"
    one = reproduce_figures(
        [Path("runs/cifar10/cifar10")], tmp_path / "one", data_dir=None, device="cpu", backend="auto"
    )
    assert (list(one["figures"]), one["missing"]) == (["figure2c"], [])
    twice = [Path("runs/cifar10/cifar10")] * 2
    with pytest.raises(UsageError, match=r"both make figure2c; name one run for each panel"):
        reproduce_figures(twice, tmp_path / "two", data_dir=None, device="cpu", backend="auto")


def test_figures_without_any_run_say_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"make one with: gancli reproduce table1-mnist"):
        reproduce_figures([], tmp_path, data_dir=None, device="cpu", backend="auto")


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> Path:
    """240 images in TFD's layout; in each fold 120 are unlabeled, 40 each train, valid and test; and small networks."""
    savemat = pytest.importorskip("scipy.io", reason="scipy, the extra 'tfd', is not installed").savemat
    rng = np.random.default_rng(0)
    folds = np.stack([rng.permutation(np.repeat([0, 1, 2, 3], [120, 40, 40, 40])) for _ in range(5)], axis=1)
    Path("data/tfd").mkdir(parents=True)
    content = {"images": rng.integers(0, 256, (240, 48, 48), dtype=np.uint8), "folds": folds.astype(np.uint8)}
    savemat("data/tfd/TFD_48x48.mat", content)
    small = {"discriminator": SMALL_D, "batch_size": 20, "num_samples": 60}
    generators = {
        "tfd-pretrain": "dense 30 relu, dense 20 sigmoid bias=-2, dense out sigmoid sparse=10 bias=marginal",
        "tfd": "dense 30 relu, dense 100 sigmoid bias=-2, pretrained",
    }
    for name, generator in generators.items():
        settings = {**PRESETS[name].settings, **small, "generator": generator}
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(PRESETS[name], settings=settings))
    return Path("data")


def test_tfd_trains_two_stages_and_scores_five_folds(faces: Path) -> None:
    command = ["reproduce", "table1-tfd", "--data-dir", str(faces), "--epochs", "1", "--json"]
    answer = CliRunner().invoke(main, command, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    figures = [score["estimate"]["log_likelihood"] for score in result["folds"]]
    assert len(figures) == 5
    assert result["log_likelihood"] == pytest.approx(np.mean(figures))
    assert result["standard_error"] == pytest.approx(np.std(figures, ddof=1) / np.sqrt(5))
    assert result["paper"]["text"] == "2057 ± 26"
    second = json.loads(Path("runs/table1-tfd/stage-2/config.json").read_text())
    assert len(second["generator"].split(",")) == 5
    # The figure of `gancli parzen` on the same samples, fold by fold.
    samples = ["parzen", "--samples", "runs/table1-tfd/stage-2/samples.pt", "--data-dir", str(faces), "--json"]
    scored = json.loads(CliRunner().invoke(main, samples, catch_exceptions=False).stdout)
    assert scored["folds"] == figures
    page = CliRunner().invoke(main, ["report", "runs/table1-tfd", "--out", "page.html"], catch_exceptions=False)
    assert page.exit_code == 0, page.output
    tile = f"<b>{result['log_likelihood']:,.1f} ± {result['standard_error']:,.1f}</b>"
    assert f"{tile}<span>nats, mean of 5 folds of tfd</span>" in Path("page.html").read_text(encoding="utf-8")
    again = CliRunner().invoke(main, command, catch_exceptions=False)
    assert json.loads(again.stdout) == result
    assert "runs/table1-tfd/stage-2: finished" in again.stderr
    # More epochs train the first stage further, which the second has not begun with.
    command[5] = "2"
    longer = CliRunner().invoke(main, command, catch_exceptions=False)
    assert longer.exit_code == 2
    assert "stage-2 was begun with the generator that runs/table1-tfd/stage-1 had then" in longer.stderr
    shutil.rmtree("runs/table1-tfd/stage-2")
    anew = CliRunner().invoke(main, command, catch_exceptions=False)
    assert anew.exit_code == 0, anew.output
    assert json.loads(anew.stdout)["seeds"][0]["epochs"] == 2


def test_other_files_than_the_published_ones_are_refused_or_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gancli.data.checksums import FileStatus

    status = [FileStatus("train-images-idx3-ubyte.gz", tmp_path, 5, "differs", "SHA-256")]
    monkeypatch.setattr("gancli.reproduce.data.verify", lambda *_: status)
    monkeypatch.setattr("gancli.reproduce.data.load", lambda *_: "the data")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: not the published mnist"):
        load_checked(TABLE1_MNIST, None)
    data, warnings = load_checked(CIFAR10, None)
    assert (data, warnings) == ("the data", ["train-images-idx3-ubyte.gz: not the published files of cifar10."])


@pytest.mark.parametrize(
    ("seconds", "total", "after_two_epochs"),
    [
        ([], 0.0, 0.0),
        ([10.0, 21.0, 30.5, 42.0], 42.0, 21.0),  # from the run's beginning, whoever trained
        ([10.0, 21.0, 9.5, 20.0], 41.0, 21.0),  # of version 0.1: a second process began at zero
    ],
)
def test_training_seconds_are_the_last_rows(
    tmp_path: Path, seconds: list[float], total: float, after_two_epochs: float
) -> None:
    run = RunFolder(tmp_path)
    rows = [{"epoch": n, "step": 5 * n, "seconds": value} for n, value in enumerate(seconds, start=1)]
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_seconds(run) == total
    assert training_seconds(run, 2) == after_two_epochs


def test_missing_data_are_named_before_anything_is_trained() -> None:
    answer = CliRunner().invoke(main, ["reproduce", "table1-mnist", "--data-dir", "nowhere"])
    assert answer.exit_code == 1
    assert "gancli data download mnist" in answer.stderr
    assert not Path("runs").exists()
