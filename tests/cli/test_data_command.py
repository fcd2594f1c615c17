"""`gancli data` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gancli.cli import main
from gancli.data import SOURCES


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder that every test works in; tables are drawn for a wide terminal."""
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", *arguments])


def result(*arguments: str) -> Any:
    """The one JSON object on standard output."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_list_has_every_set_and_says_what_is_there(empty):
    done = run("list")
    assert done.exit_code == 0
    for name in SOURCES:
        assert name in done.stdout
    assert "50k+10k+10k" in done.stdout
    assert "missing" in done.stdout
    assert str(empty / "home" / ".cache" / "gancli") in done.stdout.replace("\n", "")


def test_list_as_json(empty):
    (empty / "sets" / "tfd").mkdir(parents=True)
    (empty / "sets" / "tfd" / "TFD_48x48.mat").write_bytes(b"")
    (empty / "sets" / "cifar10").mkdir()
    (empty / "sets" / "cifar10" / "test_batch.bin").write_bytes(b"")
    content = result("list", "--data-dir", "sets")
    assert content["data_dir"] == "sets"
    rows = {row["name"]: row for row in content["datasets"]}
    assert list(rows) == list(SOURCES)
    assert {name: row["state"] for name, row in rows.items()} == {
        "digits": "built in",
        "gaussian": "built in",
        "gaussian-mixture": "built in",
        "mnist": "missing",
        "fashion-mnist": "missing",
        "cifar10": "there",
        "tfd": "there",
    }
    assert rows["cifar10"]["where"] == "sets/cifar10"
    assert rows["mnist"]["shape"] == [1, 28, 28]
    assert rows["mnist"]["counts"] == [50_000, 10_000, 10_000]
    assert [name for name, row in rows.items() if row["downloadable"]] == ["mnist", "fashion-mnist", "cifar10"]


def test_the_environment_names_the_data_folder(empty, monkeypatch):
    monkeypatch.setenv("GANCLI_DATA", str(empty / "sets"))
    assert result("list")["data_dir"] == str(empty / "sets")
    assert result("list", "--data-dir", "other")["data_dir"] == "other"


def test_show_writes_a_picture_of_the_first_training_images(empty):
    pixels = np.zeros((40, 6, 6, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    np.save(empty / "mine.npy", pixels)
    content = result("show", "mine.npy", "--num", "9", "--out", "mine.png")
    assert content == {"dataset": str(empty / "mine.npy"), "num": 9, "out": "mine.png"}
    with Image.open("mine.png") as picture:
        assert picture.width == picture.height
        assert (200, 0, 0) in {color for _, color in picture.convert("RGB").getcolors()}


def test_show_says_where_the_picture_is(empty):
    np.save(empty / "a.npy", np.random.default_rng(0).normal(size=(40, 6, 6)))
    done = run("show", "./a.npy")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"Wrote 32 of 32 training images of {empty / 'a.npy'} to a.png.\n"
    assert (empty / "a.png").exists()


def test_show_draws_digits():
    assert result("show", "digits", "--num", "4", "--seed", "3")["num"] == 4
    with Image.open("digits.png") as picture:
        assert len(set(picture.convert("L").tobytes())) > 20


def test_verify_without_files_says_how_to_get_some():
    done = run("verify")
    assert done.exit_code == 0
    assert "gancli data download mnist" in done.stdout
    assert result("verify") == {}
    assert result("verify", "digits") == {"digits": []}


def test_verify_offers_a_download_only_of_what_can_be_downloaded():
    done = run("verify", "tfd", "mnist")
    assert done.exit_code == 1
    assert "run `gancli data download mnist`; tfd cannot be downloaded: ask its authors" in done.stderr


def test_verify_names_what_is_wrong(empty):
    (empty / "data" / "mnist").mkdir(parents=True)
    (empty / "data" / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    done = run("verify")
    assert done.exit_code == 1
    assert "t10k-labels-idx1-ubyte" in done.stdout
    assert "differs" in done.stdout
    assert "missing" in done.stdout
    assert "gancli data download mnist" in done.stderr
    done = run("verify", "mnist", "--json")
    assert done.exit_code == 1
    states = [row["state"] for row in json.loads(done.stdout)["mnist"]]
    assert states == ["missing", "missing", "missing", "differs"]


def test_download_passes_names_and_folder_on(empty, monkeypatch):
    asked = []

    def fake(name: str, data_dir: str | None, *, progress: bool) -> list[Path]:
        asked.append((name, data_dir, progress))
        return [empty / "sets" / name / "a", empty / "sets" / name / "b"]

    monkeypatch.setattr("gancli.data.download.download", fake)
    done = run("download", "mnist", "fashion-mnist", "--data-dir", "sets")
    assert done.exit_code == 0
    assert f"mnist: 2 files in {empty / 'sets' / 'mnist'}, as published." in done.stdout
    assert "gancli train --dataset mnist" in done.stdout
    assert asked == [("mnist", "sets", True), ("fashion-mnist", "sets", True)]
    paths = result("download", "cifar10")
    assert paths == {"cifar10": [str(empty / "sets" / "cifar10" / each) for each in "ab"]}
    assert asked[-1] == ("cifar10", None, False)


BAD = [
    (["show", "mnits"], 2, "did you mean mnist?"),
    (["show", "mnist"], 1, "gancli data download mnist"),
    (["show", "gaussian"], 2, "single numbers"),
    (["show", "nothing.npy"], 1, "does not exist"),
    (["show", "digits", "--num", "0"], 2, "--num"),
    (["show", "digits", "--out", "digits.xyz"], 2, "digits.xyz"),
    (["verify", "mnits"], 2, "did you mean mnist?"),
    (["verify", "mnist"], 1, "4 of the files"),
    (["download"], 2, "NAME"),
    (["download", "digits"], 2, "draws it itself"),
    (["download", "tfd"], 2, "ask its authors"),
    (["download", "mnits"], 2, "did you mean mnist?"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_bad_input_is_one_sentence_and_an_exit_code(arguments, code, words):
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)


def test_every_command_has_help_and_an_example():
    data = main.get_command(click.Context(main), "data")
    assert isinstance(data, click.Group)
    assert set(data.commands) == {"list", "download", "verify", "show"}
    for name in data.commands:
        done = run(name, "--help")
        assert done.exit_code == 0
        assert f"gancli data {name}" in done.stdout
        assert "--json" in done.stdout
        assert "--data-dir" in done.stdout


def test_list_answers_without_torch():
    code = "import sys; from gancli.cli import main; main(['data', 'list'], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
