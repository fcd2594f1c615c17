"""The data sets by name, as data: what they are, which files they are made of, and how those are recognised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gancli.errors import DataError


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set, as it is downloaded and as it may lie on disk.

    Attributes:
        name: the name it is saved under, relative to the data set's folder.
        content_sha256: of what it holds once it is unpacked, whoever compressed it; None where none is published.
        file_sha256: of the file itself, as the authors serve it; None where none is published or the other is.
        content_size: bytes once unpacked; None where it is not known, or the file is read without unpacking.
        urls: where it can be had, in order of preference; all https.
        also: other names under which people keep the same content.
        max_download: no download of it may grow beyond this many bytes.
    """

    name: str
    content_sha256: str | None = None
    file_sha256: str | None = None
    content_size: int | None = None
    urls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    max_download: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it may have on disk, most usual first."""
        return (self.name, *self.also)


@dataclass(frozen=True)
class Source:
    """A data set that gancli knows by name.

    Attributes:
        name: as in `--dataset`.
        sentence: what it is, in one sentence.
        shape: (channels, height, width) of one example.
        counts: examples in train, valid and test; None where they depend on the file.
        loader: "module:function", imported only when the data are wanted, since that loads torch.
        arguments: which of folder, seed and fold the loader takes.
        files: what `download` fetches and `verify` checks; empty where the package draws the data itself.
        folds: number of cross-validation folds.
        by_hand: where to get it, when it cannot be downloaded by a program.
    """

    name: str
    sentence: str
    shape: tuple[int, int, int]
    counts: tuple[int, int, int] | None
    loader: str
    arguments: tuple[str, ...]
    files: tuple[SourceFile, ...] = ()
    folds: int = 1
    by_hand: str = ""

    @property
    def downloadable(self) -> bool:
        """Whether `gancli data download` can fetch it."""
        return any(file.urls for file in self.files)


def _idx_file(
    stem: str,
    mirrors: tuple[str, ...],
    *,
    content_size: int,
    max_download: int,
    content_sha256: str | None = None,
    file_sha256: str | None = None,
) -> SourceFile:
    """An IDX file under the names that the sites, the tools that unpack it, and older browsers give it."""
    dotted = stem.replace("-idx", ".idx")
    return SourceFile(
        name=f"{stem}.gz",
        content_sha256=content_sha256,
        file_sha256=file_sha256,
        content_size=content_size,
        urls=tuple(f"{mirror}{stem}.gz" for mirror in mirrors),
        also=(stem, f"{dotted}.gz", dotted),
        max_download=max_download,
    )


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# The SHA-256 of the unpacked files: it holds for every mirror, however it compressed them.
_MNIST = tuple(
    _idx_file(stem, _MNIST_MIRRORS, content_size=size, content_sha256=sha256, max_download=16 << 20)
    for stem, size, sha256 in (
        ("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    )
)

_FASHION_MIRRORS = (
    # The authors' repository, by two routes. Their other address, an S3 web site, answers http only.
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
# The SHA-256 of the .gz files as the authors serve them, which two independent projects state alike. Nobody states one
# of the unpacked files, so a copy that was unpacked or compressed anew can only be checked for its size.
_FASHION_MNIST = tuple(
    _idx_file(stem, _FASHION_MIRRORS, content_size=size, file_sha256=sha256, max_download=48 << 20)
    for stem, size, sha256 in (
        ("train-images-idx3-ubyte", 47_040_016, "08dc20ab1689590a0bcd66e874647b6ee8464e2d501b5a3f1f78831db19a3fdc"),
        ("train-labels-idx1-ubyte", 60_008, "b0197879cbda89f3dc7b894f9fd52b858e68ea4182b6947c9d8c2b67e5f18dcc"),
        ("t10k-images-idx3-ubyte", 7_840_016, "78dcbbfb5a27efaf1b6c1d616caca68560be8766c5bffcb2791df9273a534229"),
        ("t10k-labels-idx1-ubyte", 10_008, "42bd18137a62d5998cdeae52bf3a0676ac6b706f5cf8439b47bb5b151ae3dccf"),
    )
)

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
# SHA-256 of the archive and of its members: stated alike by several independent projects; the archive's agrees with
# the MD5 on the authors' page (c32a1d4ab5d03f1284b67883e8d87530) in those that state both.
CIFAR10_MEMBERS = MappingProxyType(
    {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }
)
CIFAR10_MEMBER_BYTES = 10_000 * (1 + 3 * 32 * 32)
_CIFAR10 = (
    SourceFile(
        name=CIFAR10_ARCHIVE,
        file_sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
        ),
        max_download=170_052_171,
    ),
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                name="digits",
                sentence="Digits that gancli draws itself, of MNIST's shape and sizes.",
                shape=(1, 28, 28),
                counts=(50_000, 10_000, 10_000),
                loader="gancli.data.digits:load_digits",
                arguments=("seed",),
            ),
            Source(
                name="gaussian",
                sentence="Numbers from one normal distribution, for Figure 1.",
                shape=(1, 1, 1),
                counts=(50_000, 10_000, 10_000),
                loader="gancli.data.gaussian:load_gaussian",
                arguments=("seed",),
            ),
            Source(
                name="gaussian-mixture",
                sentence="Numbers from a mixture of three normal distributions, to see whether a mode is lost.",
                shape=(1, 1, 1),
                counts=(50_000, 10_000, 10_000),
                loader="gancli.data.gaussian:load_gaussian_mixture",
                arguments=("seed",),
            ),
            Source(
                name="mnist",
                sentence="Handwritten digits (LeCun, Cortes, Burges).",
                shape=(1, 28, 28),
                counts=(50_000, 10_000, 10_000),
                loader="gancli.data.idx:load_mnist",
                arguments=("folder",),
                files=_MNIST,
            ),
            Source(
                name="fashion-mnist",
                sentence="Pictures of clothes in MNIST's format (Xiao, Rasul, Vollgraf 2017).",
                shape=(1, 28, 28),
                counts=(50_000, 10_000, 10_000),
                loader="gancli.data.idx:load_fashion_mnist",
                arguments=("folder",),
                files=_FASHION_MNIST,
            ),
            Source(
                name="cifar10",
                sentence="Small photographs of ten kinds of things (Krizhevsky 2009).",
                shape=(3, 32, 32),
                counts=(40_000, 10_000, 10_000),
                loader="gancli.data.cifar10:load_cifar10",
                arguments=("folder",),
                files=_CIFAR10,
            ),
            Source(
                name="tfd",
                sentence="Toronto Face Database; by permission of its authors only.",
                shape=(1, 48, 48),
                counts=None,
                loader="gancli.data.tfd:load_tfd",
                arguments=("folder", "fold"),
                files=(SourceFile(name="TFD_48x48.mat"),),
                folds=5,
                by_hand="ask its authors (Susskind, Anderson, Hinton; University of Toronto) for TFD_48x48.mat",
            ),
        )
    }
)


def candidate_folders(name: str, folder: Path) -> list[Path]:
    """Where the files of a data set may lie: `folder/name`, or `folder` itself.

    A folder that is named after another data set is not taken for this one: MNIST's and Fashion-MNIST's files have
    the same names and sizes.
    """
    folders = [folder / name]
    if folder.name == name or folder.name not in SOURCES:
        folders.append(folder)
    return folders


def find_file(name: str, stem: str, folder: Path) -> Path | None:
    """The first existing file of data set `name` whose SourceFile goes by `stem`, under any of its names."""
    (file,) = (file for file in SOURCES[name].files if stem in file.names)
    for candidate in candidate_folders(name, folder):
        for each in file.names:
            if os.path.exists(candidate / each):
                return candidate / each
    return None


def missing_files(name: str, files: list[str], folder: Path) -> DataError:
    """The error for files that are nowhere: what was looked for, where, and how to get it."""
    source = SOURCES[name]
    where = " and ".join(str(candidate) for candidate in candidate_folders(name, folder))
    remedy = f"run `gancli data download {name}`" if source.downloadable else source.by_hand
    return DataError(
        f"{name} is not there: looked for {', '.join(files)} in {where}; {remedy}, or name the folder that holds it "
        f"with --data-dir."
    )


def cifar10_folder(folder: Path) -> Path | None:
    """Where CIFAR-10's .bin files lie unpacked: the first folder that holds any of them."""
    for candidate in candidate_folders("cifar10", folder):
        for place in (candidate / "cifar-10-batches-bin", candidate):
            if any(os.path.exists(place / name) for name in CIFAR10_MEMBERS):
                return place
    return None
