"""Bytes that nobody meant: every reader returns data or one sentence, whatever it is given."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gancli.data.cifar10 import load_cifar10
from gancli.data.folder import load_folder, read_images
from gancli.data.idx import read_idx
from gancli.data.samples import read_samples
from gancli.data.tfd import load_tfd
from gancli.errors import GancliError

# A long run: GANCLI_FUZZ_EXAMPLES=10000 pytest tests/data/test_fuzz.py
EXAMPLES = int(os.environ.get("GANCLI_FUZZ_EXAMPLES", "40"))


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def tar(buffer: io.BytesIO) -> None:
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        info.size = 2000
        archive.addfile(info, io.BytesIO(bytes(2000)))


def mat(buffer: io.BytesIO) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="TFD's .mat file is read with SciPy")
    scipy_io.savemat(buffer, {"images": np.zeros((3, 48, 48), np.uint8), "folds": np.zeros((3, 5))})


PICTURE = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
IDX = b"\x00\x00\x08\x03" + struct.pack(">III", 2, 2, 3) + bytes(12)
ARRAY = np.arange(48, dtype=np.float32).reshape(3, 1, 4, 4)

# name -> (file name, a good file, its reader)
READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "idx": ("a", lambda: IDX, lambda path: read_idx(path, kind="images")),
    "idx.gz": ("a", lambda: gzip.compress(IDX), lambda path: read_idx(path, kind="images")),
    "npy": ("a.npy", lambda: saved(lambda b: np.save(b, ARRAY)), read_samples),
    "npz": ("a.npz", lambda: saved(lambda b: np.savez_compressed(b, a=ARRAY)), load_folder),
    "pt": ("a.pt", lambda: saved(lambda b: torch.save({"samples": torch.ones(2, 1, 2, 2)}, b)), read_samples),
    "png": ("a.png", lambda: saved(lambda b: PICTURE.save(b, "PNG")), lambda path: read_images(path.parent)),
    "gif": ("a.gif", lambda: saved(lambda b: PICTURE.save(b, "GIF")), lambda path: read_images(path.parent)),
    "jpeg": ("a.jpg", lambda: saved(lambda b: PICTURE.save(b, "JPEG")), lambda path: read_images(path.parent)),
    "tiff": ("a.tif", lambda: saved(lambda b: PICTURE.save(b, "TIFF")), lambda path: read_images(path.parent)),
    "webp": ("a.webp", lambda: saved(lambda b: PICTURE.save(b, "WEBP")), lambda path: read_images(path.parent)),
    "bmp": ("a.bmp", lambda: saved(lambda b: PICTURE.save(b, "BMP")), lambda path: read_images(path.parent)),
    "pgm": ("a.pgm", lambda: saved(lambda b: PICTURE.save(b, "PPM")), lambda path: read_images(path.parent)),
    "tar.gz": ("cifar-10-binary.tar.gz", lambda: saved(tar), lambda path: load_cifar10(path.parent)),
    "mat": ("TFD_48x48.mat", lambda: saved(mat), lambda path: load_tfd(path.parent)),
}


def try_to_read(reader: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sentence = "read."
    try:
        reader(path)
    except GancliError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert sentence.endswith(".")


edits = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=edits, cut=st.floats(0.2, 1))
def test_damaged_files_are_read_or_refused(tmp_path, kind, edits, cut):
    name, good, reader = READERS[kind]
    content = good()
    for where, new, removed in edits:  # overwrite, insert or remove a few bytes
        position = int(where * len(content))
        content = content[:position] + new + content[position + removed :]
    try_to_read(reader, tmp_path / name, content if cut > 0.8 else content[: int(cut * len(content))])


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), keep=st.integers(0, 16))
def test_arbitrary_bytes_are_refused(tmp_path, kind, content, keep):
    name, good, reader = READERS[kind]
    try_to_read(reader, tmp_path / name, good()[:keep] + content)


@pytest.mark.parametrize("kind", READERS)
def test_the_undamaged_file_is_what_the_reader_expects(tmp_path, kind):
    """Else the fuzzing above would only ever see the first check."""
    name, good, reader = READERS[kind]
    (tmp_path / name).write_bytes(good())
    if kind in ("tar.gz", "mat"):  # small stand-ins, refused at the last check
        with pytest.raises(GancliError, match=r"expected 30,730,000 bytes|no images marked"):
            reader(tmp_path / name)
    else:
        assert reader(tmp_path / name) is not None


@settings(max_examples=EXAMPLES * 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pickled=st.binary(max_size=60))
def test_arbitrary_pickles_in_an_archive_are_refused_or_plain(tmp_path, pickled):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("a/version", b"3\n")
    try_to_read(read_samples, tmp_path / "a.pt", buffer.getvalue())
