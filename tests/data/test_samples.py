"""Samples files: round trips, samples of other models, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data import SamplesFile, read_samples, write_samples
from gancli.errors import GancliError, UsageError

FULL = SamplesFile(
    samples=torch.rand(6, 1, 4, 5),
    dataset="mnist",
    preset="mnist",
    run="runs/mnist-mnist-1",
    seed=2**40,
    preprocessing={"kind": "gcn", "gcn_scale": 55.0, "mean": 120.5},
    versions={"gancli": "0.1.0", "torch": "2.13.0"},
)


def test_a_pt_file_keeps_everything(tmp_path):
    write_samples(tmp_path / "s.pt", FULL)
    back = read_samples(tmp_path / "s.pt")
    assert torch.equal(back.samples, FULL.samples)
    assert (back.dataset, back.preset, back.run, back.seed) == ("mnist", "mnist", "runs/mnist-mnist-1", 2**40)
    assert back.preprocessing == FULL.preprocessing
    assert back.versions == FULL.versions
    assert [path.name for path in tmp_path.iterdir()] == ["s.pt"]


def test_a_pt_file_without_a_past_is_read_too(tmp_path):
    write_samples(tmp_path / "s.pt", SamplesFile(FULL.samples))
    assert read_samples(tmp_path / "s.pt").dataset is None
    torch.save(FULL.samples.reshape(6, 20), tmp_path / "bare.pt")
    assert torch.equal(read_samples(tmp_path / "bare.pt", shape=(1, 4, 5)).samples, FULL.samples)
    torch.save({"samples": FULL.samples.double(), "anything": [1, "two"]}, tmp_path / "dict.pt")
    assert read_samples(tmp_path / "dict.pt").samples.dtype == torch.float32


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path):
    many = torch.rand(1000, 1, 28, 28)
    write_samples(tmp_path / "s.pt", SamplesFile(many[5:7]))
    assert (tmp_path / "s.pt").stat().st_size < 20_000
    assert torch.equal(read_samples(tmp_path / "s.pt").samples, many[5:7])


def test_samples_that_need_a_gradient_are_written_without_it(tmp_path):
    for name in ("s.pt", "s.npy"):
        write_samples(tmp_path / name, SamplesFile(torch.ones(2, 1, 3, 3, requires_grad=True)))
        assert not read_samples(tmp_path / name).samples.requires_grad


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_an_npy_file_holds_the_array_alone(tmp_path, kind):
    samples = (FULL.samples * 255).to(kind)
    write_samples(tmp_path / "s.npy", SamplesFile(samples, dataset="mnist"))
    assert np.array_equal(np.load(tmp_path / "s.npy"), samples.numpy())
    back = read_samples(tmp_path / "s.npy")
    assert torch.equal(back.samples, samples)
    assert back.samples.dtype == kind
    assert back.dataset is None


def test_samples_of_other_models_are_brought_to_the_shape_of_the_data(tmp_path):
    samples = np.random.default_rng(0).random((6, 8, 9, 3))
    np.savez_compressed(tmp_path / "s.npz", samples=samples, labels=np.arange(6))
    back = read_samples(tmp_path / "s.npz", shape=(3, 8, 9))
    assert back.samples.shape == (6, 3, 8, 9)
    assert torch.equal(back.samples.permute(0, 2, 3, 1), torch.from_numpy(samples).float())


def test_a_folder_of_images_is_read_in_the_order_of_names(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    for name, image in zip("bca", pixels, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    back = read_samples(tmp_path, shape=(1, 4, 5))
    assert back.samples.dtype == torch.uint8
    assert np.array_equal(back.samples[:, 0].numpy(), pixels[[2, 0, 1]])


def test_samples_are_only_written_to_known_endings(tmp_path, refuses):
    with refuses(".pt or .npy", error=UsageError):
        write_samples(tmp_path / "s.png", FULL)


@pytest.mark.parametrize("name", ["s.pt", "s.npy"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name):
    write_samples(tmp_path / name, FULL)
    before = (tmp_path / name).read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save" if name.endswith("pt") else "numpy.save", fail)
    with pytest.raises(GancliError, match="full"):
        write_samples(tmp_path / name, FULL)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def bad(row: int, value: float) -> torch.Tensor:
    samples = torch.zeros(3000, 1, 2, 2)
    samples[row, 0, 1, 0] = value
    return samples


CONTENT_FAULTS = {
    "nan": ({"samples": bad(2500, float("nan"))}, ["NaN", "row 2500"]),
    "infinity": ({"samples": bad(0, float("-inf"))}, ["infinite", "row 0"]),
    "no samples": ({"samples": torch.zeros(0, 1, 4, 5)}, ["no examples"]),
    "wrong shape": ({"samples": torch.zeros(2, 3, 8, 8)}, ["expected n × 1 × 2 × 2", "got 2 × 3 × 8 × 8"]),
    "whole numbers": ({"samples": torch.zeros(2, 1, 2, 2, dtype=torch.int64)}, ["int64"]),
    "a list": ({"samples": [1.0, 2.0]}, ["no samples"]),
    "a checkpoint": ({"generator": {"weight": torch.zeros(2)}}, ["no samples", "checkpoint"]),
    "not a dict": ([torch.zeros(2)], ["no samples"]),
    "a number for a name": ({"samples": torch.zeros(2, 1, 2, 2), "dataset": 5}, ["'dataset'", "str", "int"]),
    "a truth for a seed": ({"samples": torch.zeros(2, 1, 2, 2), "seed": True}, ["'seed'"]),
    "odd versions": ({"samples": torch.zeros(2, 1, 2, 2), "versions": {"a": 1}}, ["'versions'"]),
    "odd preprocessing": ({"samples": torch.zeros(2, 1, 2, 2), "preprocessing": {"a": [1]}}, ["'preprocessing'"]),
}


@pytest.mark.parametrize("fault", CONTENT_FAULTS)
def test_content_that_is_no_samples_is_refused_in_one_sentence(tmp_path, refuses, fault):
    content, words = CONTENT_FAULTS[fault]
    torch.save(content, tmp_path / "s.pt")
    with refuses("s.pt", *words):
        read_samples(tmp_path / "s.pt", shape=(1, 2, 2))


def test_bad_rows_of_arrays_are_named(tmp_path, refuses):
    array = np.zeros((10, 4))
    array[7, 2] = 1e300  # beyond float32
    np.save(tmp_path / "s.npy", array)
    with refuses("row 7"):
        read_samples(tmp_path / "s.npy")


@pytest.mark.parametrize("name", ["s.pt", "s.npy", "s.npz", "s.png", "s", "folder/"])
def test_missing_files_are_said_to_be_missing(tmp_path, refuses, name):
    with refuses("does not exist"):
        read_samples(f"{tmp_path}/{name}")


def test_other_files_are_refused(tmp_path, refuses):
    (tmp_path / "s.txt").write_text("hello")
    with refuses("s.txt", "expected a .pt, .npy or .npz file or a folder of images"):
        read_samples(tmp_path / "s.txt")
    (tmp_path / "empty").mkdir()
    with refuses("no images"):
        read_samples(tmp_path / "empty")
    (tmp_path / "old.pt").write_bytes(Path(__file__).read_bytes())
    with refuses("old.pt", "PyTorch 1.6"):
        read_samples(tmp_path / "old.pt")
