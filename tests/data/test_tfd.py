"""TFD's layout in a MATLAB file that SciPy writes here: splits by fold, axes, faults."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gancli.data.registry import load, verify
from gancli.data.tfd import load_tfd
from gancli.errors import UsageError

scipy_io = pytest.importorskip("scipy.io", reason="TFD's .mat file is read with SciPy: pip install 'gancli[tfd]'")

N = 40


def images_and_folds() -> tuple[np.ndarray, np.ndarray]:
    """Image i holds i in its corner, 10 in row 0 column 1 and 20 in row 1 column 0. 30 images are labelled."""
    images = np.zeros((N, 48, 48), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1], images[:, 1, 0] = np.arange(N), 10, 20
    folds = np.zeros((N, 5), dtype=np.uint8)
    for fold in range(5):
        folds[:30, fold] = 1 + (np.arange(30) + fold) % 3
    return images, folds


def save(path: Path, *, compressed: bool = True, **variables: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, variables, do_compression=compressed)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("place", ["tfd", "."])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_each_fold_has_its_own_splits(tmp_path, compressed, place, kind):
    images, folds = images_and_folds()
    labels = np.ones((N, 1))
    save(
        tmp_path / place / "TFD_48x48.mat",
        compressed=compressed,
        images=images,
        folds=folds.astype(kind),
        labs_ex=labels,
    )
    for fold in range(5):
        tfd = load("tfd", tmp_path, fold=fold)
        assert tfd.shape == (1, 48, 48)
        assert tfd.train[:, 0, 0, 0].tolist() == list(range(30, N))
        assert tfd.valid[:, 0, 0, 0].tolist() == [i for i in range(30) if (i + fold) % 3 == 1]
        assert tfd.test[:, 0, 0, 0].tolist() == [i for i in range(30) if (i + fold) % 3 == 2]
        assert tfd.valid is tfd.folds[fold].valid
        assert tfd.test is tfd.folds[fold].test
    assert len(tfd.folds) == 5
    assert torch.equal(tfd.folds[0].test[:, 0, 0, 0], torch.tensor([i for i in range(30) if i % 3 == 2]))
    # The first index of MATLAB's images(i, row, column) is the example, and rows are not exchanged with columns.
    assert tfd.train[0, 0, 0, 1] == 10
    assert tfd.train[0, 0, 1, 0] == 20


@pytest.mark.parametrize("fold", [-1, 5])
def test_there_are_five_folds(tmp_path, refuses, fold):
    with refuses("0 to 4", error=UsageError):
        load("tfd", tmp_path, fold=fold)
    with refuses("0 to 4", error=UsageError):
        load_tfd(tmp_path, fold=fold)


def test_a_missing_file_says_that_it_is_by_permission(tmp_path, refuses):
    with refuses("TFD_48x48.mat", str(tmp_path / "tfd"), "ask its authors"):
        load_tfd(tmp_path)
    (status,) = verify("tfd", tmp_path)
    assert status.state == "missing"


IMAGES, FOLDS = images_and_folds()
LAYOUT_FAULTS = {
    "other variables": ({"faces": IMAGES}, ["images and folds", "got faces"]),
    "no folds": ({"images": IMAGES}, ["images and folds", "got images"]),
    "larger images": ({"images": np.zeros((N, 96, 96), np.uint8), "folds": FOLDS}, ["48 × 48", "got 40 × 96 × 96"]),
    "flat images": ({"images": IMAGES.reshape(N, -1), "folds": FOLDS}, ["48 × 48", "got 40 × 2,304"]),
    "four folds": ({"images": IMAGES, "folds": FOLDS[:, :4]}, ["N × 5", "40 × 4"]),
    "folds of other images": ({"images": IMAGES, "folds": FOLDS[:-1]}, ["N × 5", "39 × 5"]),
    "float images": ({"images": IMAGES.astype(float), "folds": FOLDS}, ["uint8", "double"]),
    "a fourth mark": ({"images": IMAGES, "folds": FOLDS + 1}, ["0 to 3"]),
    "words for folds": ({"images": IMAGES, "folds": np.array([["train"] * 5] * N, dtype=object)}, ["TFD"]),
    "nothing unlabelled": ({"images": IMAGES, "folds": np.maximum(FOLDS, 1)}, ["no images marked 0"]),
    "no test images": ({"images": IMAGES, "folds": np.minimum(FOLDS, 2)}, ["no images marked 3"]),
}


@pytest.mark.parametrize("fault", LAYOUT_FAULTS)
def test_another_layout_is_refused_in_one_sentence(tmp_path, refuses, fault):
    variables, words = LAYOUT_FAULTS[fault]
    save(tmp_path / "TFD_48x48.mat", **variables)
    with refuses("TFD_48x48.mat", *words):
        load_tfd(tmp_path)


def whole_file(tmp_path: Path, *, compressed: bool) -> bytes:
    save(tmp_path / "whole.mat", compressed=compressed, images=IMAGES, folds=FOLDS)
    return (tmp_path / "whole.mat").read_bytes()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("keep", [0, 50, 127, 130, 140, 200, -1000, -1])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path, refuses, compressed, keep):
    (tmp_path / "TFD_48x48.mat").write_bytes(whole_file(tmp_path, compressed=compressed)[:keep])
    with refuses("TFD_48x48.mat"):
        load_tfd(tmp_path)


def test_an_element_longer_than_the_file_is_refused_before_it_is_read(tmp_path, refuses, frugal):
    content = whole_file(tmp_path, compressed=False)
    (tmp_path / "TFD_48x48.mat").write_bytes(content[:128] + struct.pack("<II", 14, 0xFFFFFFF0) + content[136:])
    with frugal(5_000_000), refuses("promises 4,294,967,280 bytes"):
        load_tfd(tmp_path)


def test_a_compressed_element_without_end_is_refused_before_it_is_unpacked(tmp_path, refuses, frugal, monkeypatch):
    monkeypatch.setattr("gancli.data.tfd.MAX_UNPACKED_BYTES", 20 << 20)
    bomb = zlib.compress(struct.pack("<II", 14, 30 << 20) + bytes(30 << 20))
    header = whole_file(tmp_path, compressed=False)[:128]
    (tmp_path / "TFD_48x48.mat").write_bytes(header + struct.pack("<II", 15, len(bomb)) + bomb)
    with frugal(5_000_000), refuses("unpacks to more than"):
        load_tfd(tmp_path)


def test_format_7_3_says_how_to_save_it(tmp_path, refuses):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "TFD_48x48.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(500))
    with refuses("7.3", "-v7"):
        load_tfd(tmp_path)


def test_without_scipy_the_extra_is_named(tmp_path, refuses, monkeypatch):
    save(tmp_path / "TFD_48x48.mat", images=IMAGES, folds=FOLDS)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with refuses("pip install 'gancli[tfd]'"):
        load_tfd(tmp_path)
