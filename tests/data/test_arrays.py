""".npy and .npz files: the shapes that are images, and the headers that lie."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gancli.data.arrays import as_images, first_bad_row, read_npy, read_npz


def npy(header: str, data: bytes = b"", *, version: tuple[int, int] = (1, 0)) -> bytes:
    """An .npy file with whatever header, written as the format says."""
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=">f8").reshape(4, 6),
        np.arange(24, dtype=np.float16),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.float64(3.5),
    ],
    ids=["uint8", "float32", "big-endian", "half", "fortran", "scalar"],
)
def test_arrays_are_read_as_numpy_reads_them(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    values = read_npy(tmp_path / "a.npy")
    assert values.dtype == (torch.uint8 if np.asarray(array).dtype == np.uint8 else torch.float32)
    assert values.shape == np.shape(array)
    assert np.array_equal(values.numpy(), np.load(tmp_path / "a.npy"))


def test_later_format_versions_are_read(tmp_path):
    for version in ((2, 0), (3, 0)):
        (tmp_path / "a.npy").write_bytes(npy(GOOD, bytes(24), version=version))
        assert read_npy(tmp_path / "a.npy").tolist() == [[0, 0, 0], [0, 0, 0]]


NPY_FAULTS = {
    "empty": (b"", ["not an .npy file"]),
    "another file": (b"PK\x03\x04" + bytes(100), ["not an .npy file"]),
    "cut in the header": (npy(GOOD)[:30], ["not an .npy file"]),
    "cut in the data": (npy(GOOD, bytes(23)), ["truncated", "promises 24 bytes", "got 23"]),
    "bytes after the end": (npy(GOOD, bytes(25)), ["after its end", "got 25"]),
    "a terabyte promised": (npy(GOOD.replace("2, 3", "2, 3, 99999999999")), ["truncated", "got 0"]),
    "a negative size": (npy(GOOD.replace("2, 3", "-2, -3"), bytes(24)), ["plain array"]),
    "a boolean size": (npy(GOOD.replace("2, 3", "True, 6"), bytes(24)), ["plain array"]),
    "objects": (npy(GOOD.replace("<f4", "|O"), bytes(48)), ["plain array"]),
    "a record": (npy(GOOD.replace("'<f4'", "[('a', '<f4')]"), bytes(24)), ["type", "expected uint8"]),
    "wide items": (npy(GOOD.replace("'<f4'", "('<f4', (1000000,))"), bytes(24)), ["plain array"]),
    "integers": (npy(GOOD.replace("<f4", "<i4"), bytes(24)), ["int32", "expected uint8"]),
    "complex": (npy(GOOD.replace("<f4", "<c8"), bytes(48)), ["complex64"]),
    "text": (npy(GOOD.replace("<f4", "<U1"), bytes(24)), ["expected uint8"]),
    "a long header": (npy(GOOD + " " * 20_000, bytes(24)), ["not an .npy file"]),
    "a deep header": (npy("(" * 5_000 + ")" * 5_000), ["not an .npy file"]),
    "code for a header": (npy("__import__('os').system('true')"), ["not an .npy file"]),
    "a missing key": (npy("{'descr': '<f4', 'shape': (2, 3)}"), ["not an .npy file"]),
    "an unknown type": (npy(GOOD.replace("<f4", "<q9")), ["not an .npy file"]),
    "an unknown version": (npy(GOOD, bytes(24), version=(9, 0)), ["version 9.0"]),
}


@pytest.mark.parametrize("fault", NPY_FAULTS)
def test_broken_npy_is_refused_in_one_sentence(tmp_path, refuses, frugal, fault):
    content, words = NPY_FAULTS[fault]
    (tmp_path / "a.npy").write_bytes(content)
    with frugal(5_000_000), refuses("a.npy", *words):
        read_npy(tmp_path / "a.npy")


def test_one_array_or_the_named_one_is_read_from_npz(tmp_path):
    np.savez(tmp_path / "one.npz", anything=np.ones((2, 3), np.uint8))
    assert read_npz(tmp_path / "one.npz", ("samples",)).shape == (2, 3)
    np.savez_compressed(tmp_path / "two.npz", labels=np.zeros(5), samples=np.ones((7, 3)))
    assert read_npz(tmp_path / "two.npz", ("samples",)).shape == (7, 3)
    assert read_npz(tmp_path / "two.npz", ("images", "labels")).shape == (5,)


def zipped(path: Path, content: bytes, *, name: str = "a.npy", method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)


def test_an_npz_of_unclear_arrays_names_them(tmp_path, refuses):
    np.savez(tmp_path / "two.npz", a=np.zeros(5), b=np.ones((7, 3)))
    with refuses("'a', 'b'", "'samples'"):
        read_npz(tmp_path / "two.npz", ("samples",))


def test_broken_npz_is_refused_in_one_sentence(tmp_path, refuses):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros((1000, 3)))
    whole = path.read_bytes()
    for content in (b"", whole[:50], whole[: len(whole) // 2], whole[:-10], b"x" * 500):
        path.write_bytes(content)
        with refuses("a.npz", "not a whole .npz file"):
            read_npz(path, ("samples",))
    path.write_bytes(whole[:200] + b"\xff" + whole[201:])  # the data no longer have the checksum of their directory
    with refuses("a.npz", "CRC"):
        read_npz(path, ("samples",))
    zipped(path, b"no array")
    with refuses("a.npz (a)", "not an .npy file"):
        read_npz(path, ("samples",))
    zipfile.ZipFile(path, "w").close()
    with refuses("holds no arrays"):
        read_npz(path, ("samples",))


def test_an_npz_that_lies_about_its_size_takes_no_memory(tmp_path, refuses, frugal):
    path = tmp_path / "a.npz"
    zipped(path, npy(GOOD.replace("2, 3", "2, 3, 99999999999")))
    with frugal(5_000_000), refuses("truncated"):
        read_npz(path, ("samples",))
    zipped(path, npy(GOOD, bytes(24)), method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    path.write_bytes(content)
    with frugal(5_000_000), refuses("a.npz", "2,147,483,648"):
        read_npz(path, ("samples",))


def test_an_npz_that_unpacks_without_end_is_refused(tmp_path, refuses, frugal, monkeypatch):
    monkeypatch.setattr("gancli.data.arrays.MAX_UNPACKED_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 18))
    with frugal(2_000_000), refuses("refused", "2,097,"):
        read_npz(tmp_path / "a.npz", ("samples",))
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1 << 18))
    zipped(tmp_path / "b.npz", buffer.getvalue(), method=zipfile.ZIP_STORED)  # as large on disk as in memory: allowed
    assert len(read_npz(tmp_path / "b.npz", ("samples",))) == 1 << 18


SHAPES = [
    # (array, expected shape of the data set or None, result)
    ((5, 1, 28, 28), None, (5, 1, 28, 28)),
    ((5, 3, 8, 9), None, (5, 3, 8, 9)),
    ((5, 8, 9, 3), None, (5, 3, 8, 9)),
    ((5, 8, 9, 1), None, (5, 1, 8, 9)),
    ((5, 3, 9, 3), None, (5, 3, 9, 3)),
    ((5, 8, 9), None, (5, 1, 8, 9)),
    ((5, 784), None, (5, 1, 1, 784)),
    ((5,), None, None),
    ((5, 4, 8, 9), None, None),
    ((5, 1, 1, 8, 9), None, None),
    ((0, 1, 8, 9), None, None),
    ((), None, None),
    ((5, 3, 8, 9), (3, 8, 9), (5, 3, 8, 9)),
    ((5, 8, 9, 3), (3, 8, 9), (5, 3, 8, 9)),
    ((5, 216), (3, 8, 9), (5, 3, 8, 9)),
    ((5, 8, 9), (1, 8, 9), (5, 1, 8, 9)),
    ((5, 72), (1, 8, 9), (5, 1, 8, 9)),
    ((5, 1), (1, 1, 1), (5, 1, 1, 1)),
    ((5,), (1, 1, 1), (5, 1, 1, 1)),
    ((5, 9, 8), (1, 8, 9), None),
    ((5, 8, 9), (3, 8, 9), None),
    ((5, 73), (1, 8, 9), None),
    ((0, 72), (1, 8, 9), None),
]


@pytest.mark.parametrize(("shape", "wanted", "result"), SHAPES)
def test_layouts_are_brought_to_images(refuses, shape, wanted, result):
    values = torch.arange(float(np.prod(shape))).reshape(shape)
    if result is None:
        with refuses("it", "expected"):
            as_images(values, "it", wanted)
        return
    images = as_images(values, "it", wanted)
    assert images.shape == result
    assert images.is_contiguous()
    if len(shape) == 4 and shape[3] == result[1] and shape[1:] != result[1:]:
        assert torch.equal(images, values.permute(0, 3, 1, 2))
    else:
        assert torch.equal(images.flatten(), values.flatten())


def test_the_first_bad_row_is_found_in_any_block():
    values = torch.zeros(5000, 2, 2)
    assert first_bad_row(values) is None
    values[4321, 1, 0] = float("nan")
    values[4999] = float("inf")
    assert first_bad_row(values) == 4321
    values[1024, 0, 1] = float("-inf")
    assert first_bad_row(values) == 1024
    assert first_bad_row(torch.zeros(3, 2, dtype=torch.uint8)) is None
