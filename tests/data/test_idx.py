"""IDX files written byte by byte, whole and broken, and MNIST's splits."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gancli.data.idx import load_fashion_mnist, load_mnist, read_idx
from gancli.data.registry import SOURCES, load
from gancli.data.sources import find_file

# Two images of 2 × 3 pixels, as the format's description says they are written.
HEADER = b"\x00\x00\x08\x03" + struct.pack(">III", 2, 2, 3)
PIXELS = bytes([0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255])
IMAGES = HEADER + PIXELS
LABELS = b"\x00\x00\x08\x01" + struct.pack(">I", 4) + bytes([9, 0, 3, 7])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_images_are_read_in_order(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(IMAGES))
    images = read_idx(path, kind="images")
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[250, 251, 252], [253, 254, 255]]]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_labels_are_read_in_order(tmp_path, pack):
    path = tmp_path / "labels"
    path.write_bytes(pack(LABELS))
    assert read_idx(path, kind="labels").tolist() == [9, 0, 3, 7]


def test_gzip_of_several_members_is_read_through(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(IMAGES[:20]) + gzip.compress(IMAGES[20:]))
    assert read_idx(path, kind="images").flatten().tolist() == list(PIXELS)


PLAIN_FAULTS = {
    "empty file": (b"", ["truncated", "16 bytes", "got 0"]),
    "cut in the magic": (IMAGES[:3], ["truncated", "got 3"]),
    "cut in the header": (IMAGES[:13], ["truncated", "16 bytes", "got 13"]),
    "cut in the data": (IMAGES[:-1], ["truncated", "2 × 2 × 3 = 12 bytes", "got 11"]),
    "only a header": (HEADER, ["truncated", "got 0"]),
    "bytes after the end": (IMAGES + b"x", ["after its end", "12 bytes"]),
    "labels for images": (LABELS + bytes(8), ["not an IDX file of images", "00000803", "00000801"]),
    "another type of value": (b"\x00\x00\x0d\x03" + IMAGES[4:], ["not an IDX file", "00000d03"]),
    "little-endian magic": (b"\x03\x08\x00\x00" + IMAGES[4:], ["not an IDX file", "03080000"]),
    "no images": (HEADER[:4] + struct.pack(">III", 0, 2, 3), ["empty"]),
    "no width": (HEADER[:4] + struct.pack(">III", 2, 2, 0), ["empty"]),
    "too few promised": (HEADER[:4] + struct.pack(">III", 1, 2, 3) + PIXELS, ["after its end", "= 6 bytes"]),
    "too many promised": (HEADER[:4] + struct.pack(">III", 3, 2, 3) + PIXELS, ["truncated", "= 18 bytes"]),
    "petabytes promised": (HEADER[:4] + b"\xff" * 12 + PIXELS, ["truncated", "got 12"]),
    "a web page": (b"<!DOCTYPE html><html>404</html>", ["not an IDX file", "3c21444f"]),
}
ZIPPED = gzip.compress(IMAGES)
GZIP_FAULTS = {
    "only the magic": (ZIPPED[:2], ["damaged gzip"]),
    "cut in gzip's header": (ZIPPED[:7], ["damaged gzip"]),
    "cut in the stream": (ZIPPED[:-12], ["damaged gzip"]),
    "cut in the checksum": (ZIPPED[:-5], ["damaged gzip"]),
    "wrong checksum": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], ["damaged gzip", "CRC"]),
    "flipped bits": (ZIPPED[:14] + b"\xff\xff" + ZIPPED[16:], ["damaged gzip"]),
    "rubbish after the end": (ZIPPED + b"rubbish", ["damaged gzip"]),
    "a second file after the end": (ZIPPED + gzip.compress(b"x"), ["after its end"]),
}


@pytest.mark.parametrize("fault", PLAIN_FAULTS)
def test_broken_files_are_refused_in_one_sentence(tmp_path, refuses, fault):
    content, words = PLAIN_FAULTS[fault]
    path = tmp_path / "images"
    path.write_bytes(content)
    with refuses(str(path), *words):
        read_idx(path, kind="images")


@pytest.mark.parametrize("fault", PLAIN_FAULTS)
def test_broken_files_are_refused_compressed_too(tmp_path, refuses, fault):
    content, words = PLAIN_FAULTS[fault]
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    word = "refused" if fault == "petabytes promised" else words[0]
    with refuses(str(path), word):
        read_idx(path, kind="images")


@pytest.mark.parametrize("fault", GZIP_FAULTS)
def test_broken_gzip_is_refused_in_one_sentence(tmp_path, refuses, fault):
    content, words = GZIP_FAULTS[fault]
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with refuses(str(path), *words):
        read_idx(path, kind="images")


def test_a_header_that_promises_more_than_gzip_can_hold_takes_no_memory(tmp_path, refuses, frugal):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(HEADER[:4] + struct.pack(">III", 1000, 1000, 1000) + bytes(1000)))
    with frugal(5_000_000), refuses("truncated", "compressed bytes can hold"):
        read_idx(path, kind="images")


def test_a_stream_that_goes_on_is_left_at_the_header_s_end(tmp_path, refuses, frugal):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(IMAGES + bytes(50_000_000), 1))
    with frugal(5_000_000), refuses("after its end"):
        read_idx(path, kind="images")


@pytest.mark.parametrize("make", ["folder", "missing", "pipe", "null", "nul byte"])
def test_what_is_no_plain_file_is_refused(tmp_path, refuses, make):
    path = tmp_path / "images"
    words = {"folder": "folder", "missing": "does not exist", "pipe": "pipe", "null": "device", "nul byte": "file name"}
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "null":
        path = Path(os.devnull)
    elif make == "nul byte":
        path = Path("a\0b")
    with refuses(words[make]):
        read_idx(path, kind="images")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read every file")
def test_an_unreadable_file_is_refused(tmp_path, refuses):
    path = tmp_path / "images"
    path.write_bytes(IMAGES)
    path.chmod(0)
    with refuses("cannot be opened", "ermission denied"):
        read_idx(path, kind="images")


def number(images: torch.Tensor) -> torch.Tensor:
    """Which image it is, from its first two pixels."""
    return images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1].long()


def test_mnist_trains_on_the_first_50_000_and_validates_on_the_last_10_000(mnist_folder):
    mnist = load_mnist(mnist_folder)
    assert mnist.name == "mnist"
    assert mnist.shape == (1, 28, 28)
    assert torch.equal(number(mnist.train), torch.arange(50_000))
    assert torch.equal(number(mnist.valid), torch.arange(50_000, 60_000))
    assert torch.equal(number(mnist.test.flip(2)), torch.arange(10_000))
    assert mnist.folds == ()


def test_the_folder_of_the_files_themselves_works_too(mnist_folder):
    assert len(load_mnist(mnist_folder / "mnist").test) == 10_000
    assert len(load("mnist", mnist_folder / "mnist").test) == 10_000


@pytest.mark.parametrize("pattern", ["{}-idx3-ubyte", "{}-idx3-ubyte.gz", "{}.idx3-ubyte", "{}.idx3-ubyte.gz"])
def test_all_usual_names_are_found(tmp_path, pattern):
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / pattern.format("t10k-images")
    path.write_bytes(b"")
    assert find_file("mnist", "t10k-images-idx3-ubyte", tmp_path) == path


def test_missing_files_say_where_they_were_looked_for_and_how_to_get_them(tmp_path, refuses):
    words = ["gancli data download mnist", "train-images-idx3-ubyte[.gz]", str(tmp_path / "mnist"), "--data-dir"]
    with refuses(*words):
        load_mnist(tmp_path)


def test_mnist_is_not_taken_for_fashion_mnist(mnist_folder, refuses):
    with refuses("gancli data download fashion-mnist"):
        load_fashion_mnist(mnist_folder / "mnist")


def test_fashion_mnist_has_the_same_splits(mnist_folder, tmp_path):
    (tmp_path / "fashion-mnist").symlink_to(mnist_folder / "mnist")
    fashion = load("fashion-mnist", tmp_path)
    assert fashion.name == "fashion-mnist"
    assert [len(split) for split in (fashion.train, fashion.valid, fashion.test)] == [50_000, 10_000, 10_000]


@pytest.mark.parametrize("shape", [(59_999, 28, 28), (60_000, 28, 14)])
def test_another_count_or_size_is_not_mnist(tmp_path, refuses, shape):
    (tmp_path / "mnist").mkdir()
    header = b"\x00\x00\x08\x03" + struct.pack(">III", *shape)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(header + bytes(int(np.prod(shape))))
    with refuses("expected 60,000 × 28 × 28", f"got {shape[0]:,} × 28 × {shape[2]}", "gancli data download mnist"):
        load_mnist(tmp_path)


def test_real_mnist_has_the_published_checksum(real_data):
    if find_file("mnist", "train-images-idx3-ubyte", real_data) is None:
        pytest.skip("GANCLI_DATA has no MNIST: run `gancli data download mnist`")
    mnist = load("mnist", real_data)
    train = torch.cat([mnist.train, mnist.valid])
    header = b"\x00\x00\x08\x03" + struct.pack(">III", 60_000, 28, 28)
    digest = hashlib.sha256(header + train.numpy().tobytes()).hexdigest()
    # Published by the data set's mirrors; the same as in the registry, but stated once more, independently of it.
    assert digest == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert SOURCES["mnist"].files[0].content_sha256 == digest
    header = b"\x00\x00\x08\x03" + struct.pack(">III", 10_000, 28, 28)
    digest = hashlib.sha256(header + mnist.test.numpy().tobytes()).hexdigest()
    assert digest == "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
