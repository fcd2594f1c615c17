"""Every reader of foreign bytes, with a good file of its kind, for whoever wants to break them."""

from __future__ import annotations

import functools
import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gancli.config import Config
from gancli.data.cifar10 import load_cifar10
from gancli.data.folder import load_folder, read_images
from gancli.data.idx import read_idx
from gancli.data.preprocess import Preprocessing
from gancli.data.samples import read_samples
from gancli.data.tfd import load_tfd
from gancli.data.torchfile import CHECKSUM, digest
from gancli.errors import GancliError
from gancli.train.checkpoints import load_checkpoint
from gancli.train.generate import generator_of
from gancli.train.run_folder import RunFolder


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: what the file has to be called.
        good: makes a file that it reads.
        read: reads the file of that path.
        refused: whether the good file, a small stand-in, is refused at the reader's last check.
    """

    name: str
    good: Callable[[], bytes]
    read: Callable[[Path], object]
    refused: bool = False


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    """Return what a function writes to a stream."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def _tar(buffer: io.BytesIO) -> None:
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        info.size = 2000
        archive.addfile(info, io.BytesIO(bytes(2000)))


def _mat(buffer: io.BytesIO) -> None:
    from scipy.io import savemat

    savemat(buffer, {"images": np.zeros((3, 48, 48), np.uint8), "folds": np.zeros((3, 5))})


def _checkpoint(buffer: io.BytesIO) -> None:
    config = Config(generator="dense 3 relu, dense out sigmoid", noise_dim=2)
    content = {
        "format": 2,
        "version": "0.1.0",
        "config": config.as_dict(),
        "shape": [1, 2, 2],
        "preprocessing": Preprocessing("scale").as_dict(),
        "step": 7,
        "G": {
            "layers.0.weight": torch.ones(3, 2),
            "layers.0.bias": torch.zeros(3),
            "layers.1.weight": torch.ones(4, 3),
            "layers.1.bias": torch.zeros(4),
        },
        "D": {},
    }
    torch.save({**content, CHECKSUM: digest(content)}, buffer)


def _read_checkpoint(path: Path) -> object:
    content = load_checkpoint(path)
    Preprocessing.from_dict(content["preprocessing"])
    return generator_of(content, path)


def _image(kind: str) -> Callable[[], bytes]:
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    return lambda: saved(lambda buffer: picture.save(buffer, kind))


def _read_image(path: Path) -> object:
    return read_images(path.parent)


IDX = b"\x00\x00\x08\x03" + struct.pack(">III", 2, 2, 3) + bytes(12)
LABELS = b"\x00\x00\x08\x01" + struct.pack(">I", 3) + bytes(3)
ARRAY = np.arange(48, dtype=np.float32).reshape(3, 1, 4, 4)
ROWS = b'{"epoch": 1, "step": 5, "loss_d": 0.5}\n{"epoch": 2, "step": 10, "loss_d": NaN}\n'

READERS = {
    "idx": Reader("a", lambda: IDX, lambda path: read_idx(path, kind="images")),
    "idx-labels": Reader("a", lambda: LABELS, lambda path: read_idx(path, kind="labels")),
    "idx.gz": Reader("a", lambda: gzip.compress(IDX), lambda path: read_idx(path, kind="images")),
    "npy": Reader("a.npy", lambda: saved(lambda b: np.save(b, ARRAY)), read_samples),
    "npz": Reader("a.npz", lambda: saved(lambda b: np.savez_compressed(b, a=ARRAY)), load_folder),
    "pt": Reader("a.pt", lambda: saved(lambda b: torch.save({"samples": torch.ones(2, 1, 2, 2)}, b)), read_samples),
    "checkpoint": Reader("last.pt", lambda: saved(_checkpoint), _read_checkpoint),
    "config.json": Reader(
        "config.json", lambda: json.dumps(Config().as_dict()).encode(), lambda path: RunFolder(path.parent).config()
    ),
    "metrics.jsonl": Reader("metrics.jsonl", lambda: ROWS, lambda path: RunFolder(path.parent).read_metrics()),
    "png": Reader("a.png", _image("PNG"), _read_image),
    "gif": Reader("a.gif", _image("GIF"), _read_image),
    "jpeg": Reader("a.jpg", _image("JPEG"), _read_image),
    "tiff": Reader("a.tif", _image("TIFF"), _read_image),
    "webp": Reader("a.webp", _image("WEBP"), _read_image),
    "bmp": Reader("a.bmp", _image("BMP"), _read_image),
    "pgm": Reader("a.pgm", _image("PPM"), _read_image),
    "tar.gz": Reader("cifar-10-binary.tar.gz", lambda: saved(_tar), lambda path: load_cifar10(path.parent), True),
    "mat": Reader("TFD_48x48.mat", lambda: saved(_mat), lambda path: load_tfd(path.parent), True),
}


@functools.cache
def good_file(name: str) -> bytes:
    """Return a reader's good file, made once."""
    return READERS[name].good()


def in_archive_of(name: str) -> Callable[[bytes], bytes]:
    """Return what puts another pickle into a good .pt file, whose tensors' bytes stay."""

    def wrap(pickled: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good_file(name))) as good, zipfile.ZipFile(buffer, "w") as archive:
            for record in good.namelist():
                archive.writestr(record, pickled if record.endswith("data.pkl") else good.read(record))
        return buffer.getvalue()

    return wrap


def in_npz(array: bytes) -> bytes:
    """Wrap an .npy file as numpy.savez does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", array)
    return buffer.getvalue()


def packed(content: bytes) -> bytes:
    """Compress, as fast as can be."""
    return gzip.compress(content, 1)


def pickle_of(archive: bytes) -> bytes:
    """Return the pickle of a .pt file."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))


# Behind a checksum or compression, mutated bytes hardly reach the parser: these mutate what is inside instead.
# name -> (reader, from its good file to the inner bytes, from inner bytes to a file)
INSIDE: dict[str, tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "pt, its pickle": ("pt", pickle_of, in_archive_of("pt")),
    "checkpoint, its pickle": ("checkpoint", pickle_of, in_archive_of("checkpoint")),
    "npz, its array": ("npz", lambda good: zipfile.ZipFile(io.BytesIO(good)).read("a.npy"), in_npz),
    "idx.gz, unpacked": ("idx.gz", gzip.decompress, packed),
    "tar.gz, unpacked": ("tar.gz", gzip.decompress, packed),
}


def read_or_refuse(reader: Reader, path: Path, content: bytes) -> None:
    """Give bytes to a reader: it returns, or refuses them in one sentence; everything else is an error."""
    path.write_bytes(content)
    try:
        reader.read(path)
    except GancliError as error:
        one_sentence(error)


def one_sentence(error: GancliError) -> None:
    """Hold a refusal to its form."""
    sentence = str(error)
    assert "\n" not in sentence, sentence
    assert sentence.endswith((".", "?")), sentence
