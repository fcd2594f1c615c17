"""Checkpoints that were damaged, are of another time, or come from a stranger."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gancli.config import Config
from gancli.data.torchfile import digest, read_torch_file
from gancli.errors import DataError, GancliWarning
from gancli.files import atomic_write_bytes
from gancli.train.checkpoints import FORMAT, load_checkpoint, load_newest, save_checkpoint
from gancli.train.generate import load_generator
from gancli.train.optimisers import Pylearn2Momentum, restore_rule
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import train_run

FORMAT1 = Path(__file__).with_name("format1")


class Silent:
    """Watches without a word."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


CONTENT: dict[str, Any] = {
    "config": Config(generator="dense 3 relu, dense out sigmoid", noise_dim=2).as_dict(),
    "shape": [1, 2, 2],
    "preprocessing": {"kind": "scale", "gcn_scale": 55.0, "mean": 0.0, "norm": 1.0, "low": 0.0, "high": 255.0},
    "step": 7,
    "G": {
        "layers.0.weight": torch.arange(6.0).reshape(3, 2),
        "layers.0.bias": torch.zeros(3),
        "layers.1.weight": torch.ones(4, 3),
        "layers.1.bias": torch.zeros(4),
    },
    "D": {},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder with two checkpoints, of iterations 7 and 8."""
    run = RunFolder(tmp_path / "run")
    for step in (7, 8):
        save_checkpoint(run.last, {**CONTENT, "step": step}, previous=run.previous)
    return run


def test_the_one_before_is_kept(run: RunFolder) -> None:
    assert load_checkpoint(run.last)["step"] == 8
    assert load_checkpoint(run.previous)["step"] == 7
    assert sorted(path.name for path in run.last.parent.iterdir()) == ["last.pt", "previous.pt"]


def test_a_failed_write_keeps_both(run: RunFolder) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(run.last, {**CONTENT, "step": lambda: None}, previous=run.previous)
    assert [load_checkpoint(path)["step"] for path in (run.last, run.previous)] == [8, 7]


def test_without_hard_links_the_one_before_is_kept_as_well(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    save_checkpoint(run.last, {**CONTENT, "step": 9}, previous=run.previous)
    assert [load_checkpoint(path)["step"] for path in (run.last, run.previous)] == [9, 8]


def test_keeping_again_after_a_kill_between_link_and_rename(run: RunFolder) -> None:
    run.previous.unlink()
    run.previous.hardlink_to(run.last)  # both names are one file's, for which a rename does nothing
    save_checkpoint(run.last, {**CONTENT, "step": 9}, previous=run.previous)
    assert [load_checkpoint(path)["step"] for path in (run.last, run.previous)] == [9, 8]
    assert sorted(path.name for path in run.last.parent.iterdir()) == ["last.pt", "previous.pt"]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a weight": lambda path: flip(path, path.read_bytes().index(np.float32(5.0).tobytes())),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_last_falls_back_with_a_sentence(run: RunFolder, damage: str) -> None:
    DAMAGE[damage](run.last)
    with pytest.warns(GancliWarning, match=r"last\.pt.*Going on from the one before it.*previous\.pt, of iteration 7"):
        content, path = load_newest(run.last, run.previous)
    assert (content["step"], path) == (7, run.previous)
    run.previous.write_bytes(b"")
    with pytest.raises(DataError, match="last"):
        load_newest(run.last, run.previous)


def test_no_flipped_bit_goes_unnoticed(run: RunFolder, tmp_path: Path) -> None:
    """A file with one bit turned is refused, or it is read to the very content that was written."""
    whole, expected = run.last.read_bytes(), digest(load_checkpoint(run.last))
    rng, refused = random.Random(0), 0
    path = tmp_path / "flipped.pt"
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            assert digest(load_checkpoint(path)) == expected
        except DataError:
            refused += 1
    assert refused > 100


def test_a_checkpoint_without_its_checksum_is_refused(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "version": "0", **CONTENT}, tmp_path / "a.pt")
    with pytest.raises(DataError, match="no checksum"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("number", [0, -1, FORMAT + 1, 10**30, True, "2", None, 2.0])
def test_other_formats_are_named(tmp_path: Path, number: Any) -> None:
    save_checkpoint(tmp_path / "a.pt", {**CONTENT, "format": number})
    with pytest.raises(DataError, match=r"has format .*, this gancli reads 1 to 2"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_run_of_format_1_is_read_and_goes_on(tmp_path: Path) -> None:
    """A run that version 0.1 stopped within its third epoch, with format 1 as it wrote it."""
    run = RunFolder(tmp_path / "run")
    run.last.parent.mkdir(parents=True)
    for name, path in (("config.json", run.config_file), ("metrics.jsonl", run.metrics_file), ("last.pt", run.last)):
        shutil.copy(FORMAT1 / name, path)
    before = torch.load(FORMAT1 / "last.pt", weights_only=True)
    assert (before["format"], before["step"]) == (1, 1007)
    content = load_checkpoint(run.last)
    for player in ("G", "D"):
        assert all(torch.equal(content[player][key], value) for key, value in before[player].items())
    first = run.metrics_file.read_text()
    summary = train_run(run.config().replace(steps=1100, validation_every=0), run, Silent(), resume=True)
    assert summary.steps == 1100
    assert run.metrics_file.read_text().startswith(first)
    assert load_checkpoint(run.last)["format"] == FORMAT
    assert load_checkpoint(run.previous)["format"] == 1


GREEDY: dict[str, Any] = {
    "a wide layer": {"generator": "dense 999999 relu, dense out sigmoid"},
    "wide layers": {"generator": "dense 999999 relu, dense 999999 relu, dense out sigmoid"},
    "much noise": {"noise_dim": 1 << 50},
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_configuration_that_asks_for_more_than_the_weights_takes_no_memory(tmp_path: Path, name: str) -> None:
    run = RunFolder(tmp_path / "run")
    save_checkpoint(run.last, {**CONTENT, "config": {**CONTENT["config"], **GREEDY[name]}})
    with pytest.raises(DataError, match="do not fit the generator"):
        load_generator(run, torch.device("cpu"))


@pytest.mark.parametrize(
    "change", [{"generator": "dense"}, {"generator": "dense 3 relu"}, {"lr": -1.0}, {"colour": "red"}]
)
def test_a_configuration_that_cannot_be_used_is_the_files_fault(tmp_path: Path, change: dict[str, Any]) -> None:
    run = RunFolder(tmp_path / "run")
    save_checkpoint(run.last, {**CONTENT, "config": {**CONTENT["config"], **change}})
    with pytest.raises(DataError, match=r"configuration in .*last\.pt cannot be used: "):
        load_generator(run, torch.device("cpu"))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("shape", [1, 2]),
        ("shape", [1, 2, -2]),
        ("shape", 4),
        ("step", "7"),
        ("config", []),
        ("config", {1: 2}),
        ("G", 3),
    ],
)
def test_entries_of_the_wrong_kind_are_refused(tmp_path: Path, entry: str, value: Any) -> None:
    save_checkpoint(tmp_path / "a.pt", {**CONTENT, entry: value})
    with pytest.raises(DataError, match="entries are not those of a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def test_the_digest_tells_apart_what_differs() -> None:
    values: list[Any] = [
        *(None, True, 1, 1.0, "1", -0.0, 0.0, [], (), {}, [1, [2]], [[1], 2], [1, 2], "a", ["a"]),
        *(torch.ones(2), torch.ones(2, dtype=torch.float64), torch.ones(2, 1), torch.ones(1, 2), torch.zeros(2)),
        *(torch.tensor(1.0), torch.tensor([1.0]), torch.tensor([-0.0, 0.0]), torch.empty(0), torch.empty(0, 2)),
    ]
    assert len({digest({"a": value}) for value in values}) == len(values)
    strided = torch.arange(6.0).reshape(2, 3).t()
    assert digest({"a": strided}) == digest({"a": strided.contiguous()})
    assert digest({"a": 1, "sha256": "x"}) == digest({"a": 1})


def test_tensors_that_share_their_data_many_times_over_are_refused(tmp_path: Path) -> None:
    """Else a small file could keep the checksum busy for years."""
    large = torch.zeros(100_000)
    torch.save({"sha256": "x", "many": [large.view(-1) for _ in range(100)]}, tmp_path / "a.pt")
    with pytest.raises(DataError, match="the same data more than 16 times"):
        read_torch_file(tmp_path / "a.pt")


def test_cut_and_foreign_lines_of_metrics_end_the_rows(run: RunFolder) -> None:
    good = b'{"step": 1}\n{"step": 2, "x": NaN}\n'
    for rest in (b'{"step": 3', b"\xff\xfe\n", b"[3]\n", b'{"epoch": 3}\n', b"[" * 100_000, b'{"step": true}\n', b"\n"):
        atomic_write_bytes(run.metrics_file, good + rest)
        assert [row["step"] for row in run.read_metrics()] == [1, 2]


def test_a_velocity_whose_values_all_lie_in_one_place_is_taken_up_and_updated() -> None:
    """A file may hold that, and no update could be made in it."""
    layer = torch.nn.Linear(3, 2)
    rule = Pylearn2Momentum(layer.parameters(), lr=0.1, momentum=0.5)
    velocities = {0: torch.ones(1, 1).expand(2, 3), 1: torch.zeros(2)}
    restore_rule(rule, {"state": {number: {"velocity": value} for number, value in velocities.items()}})
    before = layer.weight.detach().clone()
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    rule.step()
    assert torch.allclose(layer.weight, before + 0.5 * 1 - 0.1 * 1)
