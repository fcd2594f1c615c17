"""CIFAR-10's binary records, in files and in the archive, written byte by byte."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gancli.data.cifar10 import load_cifar10
from gancli.data.registry import load, verify
from gancli.data.sources import CIFAR10_MEMBERS

NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def batch(which: int) -> bytes:
    """10,000 records: a label, then 3,072 pixels, of which the first three tell batch and number of the image."""
    records = np.zeros((10_000, 3_073), dtype=np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    records[:, 1] = which
    records[:, 2], records[:, 3] = np.arange(10_000) // 256, np.arange(10_000) % 256
    records[:, 1 + 1024] = 101  # the first green pixel
    records[:, 1 + 2048 + 33] = 202  # blue, second row, second column
    return records.tobytes()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("cifar")
    bins = data / "cifar10" / "cifar-10-batches-bin"
    bins.mkdir(parents=True)
    for which, name in enumerate(NAMES):
        (bins / name).write_bytes(batch(which))
    return data


@pytest.fixture(scope="session")
def archive(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as the official archive has it: a folder, the records, and two text files."""
    path = tmp_path_factory.mktemp("cifar-archive") / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        bins = folder / "cifar10" / "cifar-10-batches-bin"
        tar.add(bins, arcname="cifar-10-batches-bin", recursive=False)
        readme = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        readme.size = 5
        tar.addfile(readme, io.BytesIO(b"hello"))
        for name in reversed(NAMES):  # in the official archive too the order is not that of the numbers
            tar.add(bins / name, arcname=f"cifar-10-batches-bin/{name}")
    return path


def number(images: torch.Tensor) -> torch.Tensor:
    pixels = images[:, 0, 0].long()
    return pixels[:, 0] * 10_000 + pixels[:, 1] * 256 + pixels[:, 2]


@pytest.mark.parametrize("how", ["data folder", "cifar10 folder", "bin folder", "archive", "archive in cifar10"])
def test_it_trains_on_the_first_40_000_and_validates_on_the_last_10_000(folder, archive, tmp_path, how):
    if how == "archive in cifar10":
        (tmp_path / "cifar10").mkdir()
        (tmp_path / "cifar10" / archive.name).symlink_to(archive)
    place = {
        "data folder": folder,
        "cifar10 folder": folder / "cifar10",
        "bin folder": folder / "cifar10" / "cifar-10-batches-bin",
        "archive": archive.parent,
        "archive in cifar10": tmp_path,
    }[how]
    cifar = load("cifar10", place)
    assert cifar.shape == (3, 32, 32)
    assert cifar.train.dtype == torch.uint8
    assert torch.equal(number(cifar.train), torch.arange(40_000))
    assert torch.equal(number(cifar.valid), torch.arange(40_000, 50_000))
    assert torch.equal(number(cifar.test), torch.arange(50_000, 60_000))
    assert cifar.train[7, 1, 0, 0] == 101
    assert cifar.train[7, 2, 1, 1] == 202


def test_nothing_there_says_how_to_get_it(tmp_path, refuses):
    with refuses("cifar-10-binary.tar.gz", str(tmp_path / "cifar10"), "gancli data download cifar10"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py"])
def test_the_python_version_is_named_and_not_read(tmp_path, refuses, name):
    (tmp_path / "cifar10" / name).mkdir(parents=True)
    with refuses("Python version", "unpickling", "cifar-10-binary.tar.gz", "gancli data download cifar10"):
        load_cifar10(tmp_path)


FILE_FAULTS = {
    "empty": (b"", ["expected 30,730,000 bytes", "got 0"]),
    "truncated": (bytes(30_729_999), ["got 30,729,999"]),
    "too long": (bytes(30_730_001), ["got 30,730,001"]),
    "wrong labels": (bytes(3_073) + b"\x0a" + bytes(30_730_000 - 3_074), ["labels 0 to 9", "record 1 has 10"]),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_broken_files_are_refused_in_one_sentence(folder, tmp_path, refuses, fault):
    content, words = FILE_FAULTS[fault]
    for name in NAMES[1:]:
        (tmp_path / name).symlink_to(folder / "cifar10" / "cifar-10-batches-bin" / name)
    (tmp_path / NAMES[0]).write_bytes(content)
    with refuses(NAMES[0], *words, "gancli data download cifar10"):
        load_cifar10(tmp_path)


def test_a_missing_file_is_named(folder, tmp_path, refuses):
    for name in NAMES[:-1]:
        (tmp_path / name).symlink_to(folder / "cifar10" / "cifar-10-batches-bin" / name)
    with refuses("test_batch.bin does not exist"):
        load_cifar10(tmp_path)


def tar_of(*members: tuple[str, int], kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive with members of zeros, compressed as little as their zeros allow."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = size, kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(bytes(size)) if kind == tarfile.REGTYPE else None)
    return raw.getvalue()


ZEROS = tar_of(("cifar-10-batches-bin/data_batch_1.bin", 30_730_000))
PAX = tarfile.TarInfo("x")
PAX.size, PAX.type = 1 << 40, tarfile.XHDTYPE
BOMB = tarfile.TarInfo("x")
BOMB.size = 210 << 20
ARCHIVE_FAULTS = {
    "empty": (b"", ["damaged"]),
    "not gzip": (b"PK\x03\x04" + bytes(1000), ["damaged"]),
    "not tar": (gzip.compress(b"no archive " * 100), ["damaged"]),
    "cut": (ZEROS[: len(ZEROS) // 2], ["damaged"]),
    "only one member": (ZEROS, ["lacks data_batch_2.bin", "test_batch.bin"]),
    "small member": (tar_of(("cifar-10-batches-bin/test_batch.bin", 100)), ["expected 30,730,000 bytes", "got 100"]),
    "links instead": (tar_of(*((name, 0) for name in NAMES), kind=tarfile.SYMTYPE), ["lacks data_batch_1.bin"]),
    "python version": (tar_of(("cifar-10-batches-py/data_batch_1", 50)), ["lacks data_batch_1.bin"]),
    "header of a terabyte": (gzip.compress(PAX.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)), ["damaged"]),
    "a bomb": (gzip.compress(BOMB.tobuf() + bytes(210 << 20), 1), ["damaged", "unpacks to more than"]),
}


@pytest.mark.parametrize("fault", ARCHIVE_FAULTS)
def test_broken_archives_are_refused_in_one_sentence(tmp_path, refuses, fault):
    content, words = ARCHIVE_FAULTS[fault]
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with refuses(*words, "gancli data download cifar10"):
        load_cifar10(tmp_path)


def test_an_archive_writes_nothing_wherever_its_names_point(tmp_path, refuses):
    outside = tmp_path / "outside"
    inside = tmp_path / "data"
    inside.mkdir()
    content = tar_of(("../outside", 10), (str(outside), 10), ("../../data_batch_1.bin", 30_730_000))
    (inside / "cifar-10-binary.tar.gz").write_bytes(content)
    with refuses("lacks data_batch_2.bin"):
        load_cifar10(inside)
    assert not outside.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_verify_tells_records_from_the_published_ones(folder, archive, tmp_path):
    assert {status.state for status in verify("cifar10", folder)} == {"differs"}
    assert [status.name for status in verify("cifar10", folder)] == list(CIFAR10_MEMBERS)
    shutil.copy(archive, tmp_path)
    (status,) = verify("cifar10", tmp_path)
    assert status.state == "differs"
    (status,) = verify("cifar10", tmp_path / "nowhere")
    assert status.state == "missing"
