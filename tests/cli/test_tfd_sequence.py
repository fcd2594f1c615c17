"""TFD's two stages and five folds, end to end, on a file of TFD's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gancli.cli import main

savemat = pytest.importorskip("scipy.io", reason="scipy, the extra 'tfd', is not installed").savemat
SMALL_D = "--discriminator=maxout 8x3 irange=0.005, dense 1 sigmoid irange=0.005"


@pytest.fixture
def faces() -> Path:
    """240 images; in each fold 120 are unlabeled, 40 each train, valid and test, with a brightness that tells which."""
    rng = np.random.default_rng(0)
    folds = np.stack([rng.permutation(np.repeat([0, 1, 2, 3], [120, 40, 40, 40])) for _ in range(5)], axis=1)
    images = rng.integers(0, 256, (240, 48, 48), dtype=np.uint8)
    Path("data/tfd").mkdir(parents=True)
    content = {"images": images, "folds": folds.astype(np.uint8)}
    content |= {name: np.zeros((240, 1), dtype=np.int32) for name in ("labs_ex", "labs_id")}
    savemat("data/tfd/TFD_48x48.mat", content)
    return Path("data")


def gancli(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


def test_two_stages_and_five_folds(faces: Path) -> None:
    common = ["--data-dir", str(faces), SMALL_D, "--epochs", "1", "--batch-size", "20", "--num-samples", "60"]
    stage1 = "--generator=dense 30 relu, dense 20 sigmoid bias=-2, dense out sigmoid sparse=10 bias=marginal"
    gancli("train", "--preset", "tfd-pretrain", *common, stage1, "--out", "runs/stage1")
    stage2 = "--generator=dense 30 relu, dense 100 sigmoid bias=-2, pretrained"
    summary = gancli("train", "--preset", "tfd", *common, stage2, "--pretrained", "runs/stage1", "--out", "runs/stage2")
    assert summary["steps"] == 6  # 120 unlabeled images in minibatches of 20
    config = json.loads(Path("runs/stage2/config.json").read_text())
    assert len(config["generator"].split(",")) == 5
    assert config["max_column_norm"] == 1.9365

    score = gancli("parzen", "--samples", "runs/stage2/samples.pt")
    folds = score["folds"]
    assert isinstance(folds, list)
    assert len(folds) == 5
    assert score["log_likelihood"] == pytest.approx(np.mean(folds))
    assert score["standard_error"] == pytest.approx(np.std(folds, ddof=1) / np.sqrt(5))
    assert score["num_validation"] == 40  # the fold's whole split
    # Of the last generators: an epoch chosen by one fold's validation images would have seen other folds' test images.
    assert not list(Path("runs").glob("*/checkpoints/best.pt"))
    one = gancli("parzen", "--samples", "runs/stage2/samples.pt", "--fold", "2")
    assert one["log_likelihood"] == folds[2]
