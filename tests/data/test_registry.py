"""Names, folders and laziness of the registry, and what verify says."""

from __future__ import annotations

import gzip
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import gancli.data
from gancli.data import SOURCES, load
from gancli.data.registry import is_path, resolve_data_dir, short_name, verify
from gancli.errors import UsageError


def test_importing_it_loads_neither_torch_nor_numpy():
    code = "import sys, gancli.data, gancli.data.registry, gancli.data.checksums, gancli.data.download; "
    code += "gancli.data.SOURCES; print([m for m in ('torch', 'numpy', 'PIL', 'rich', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_that_the_package_exports_is_there():
    for name in gancli.data.__all__:
        assert getattr(gancli.data, name) is not None
    assert set(gancli.data.__all__) <= set(dir(gancli.data))
    with pytest.raises(AttributeError, match="nothing"):
        _ = gancli.data.nothing


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_described_and_has_a_loader(name):
    source = SOURCES[name]
    assert source.name == name
    assert source.sentence.endswith(".")
    module, function = source.loader.split(":")
    assert callable(getattr(import_module(module), function))
    for file in source.files:
        for url in file.urls:
            assert url.startswith("https://")
            assert file.max_download > 0
            assert file.content_sha256 or file.file_sha256
        for digest in (file.content_sha256, file.file_sha256):
            assert digest is None or len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mnits", "mnist"),
        ("MNIST", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("cifar", "cifar10"),
        ("digit", "digits"),
    ],
)
def test_an_unknown_name_gets_the_nearest(refuses, name, nearest):
    with refuses(repr(name), f"did you mean {nearest}?", "folder of images", error=UsageError):
        load(name)


@pytest.mark.parametrize("name", ["", "imagenet-21k", "x" * 5000, "a\0b"])
def test_a_name_like_no_other_gets_the_list(refuses, name):
    with refuses("Unknown data set", "known are digits", error=UsageError):
        load(name)


def test_only_tfd_has_folds(refuses):
    with refuses("no fold 1", "tfd", error=UsageError):
        load("gaussian", fold=1)


def test_the_data_folder_is_the_argument_then_the_variable_then_here_then_the_cache(tmp_path, monkeypatch):
    assert resolve_data_dir() == tmp_path / "home" / ".cache" / "gancli"
    (tmp_path / "data").mkdir()
    assert resolve_data_dir() == Path("data")
    monkeypatch.setenv("GANCLI_DATA", "~/sets")
    assert resolve_data_dir() == tmp_path / "home" / "sets"
    assert resolve_data_dir("elsewhere") == Path("elsewhere")
    assert resolve_data_dir("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    assert resolve_data_dir(Path("~/elsewhere")) == tmp_path / "home" / "elsewhere"


def test_names_and_paths_are_told_apart(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mine").mkdir()
    assert not is_path("mnist")  # a folder of that name changes nothing
    assert is_path("./mnist")
    assert is_path("mine")
    assert is_path("nothing.npy")
    assert is_path("no/thing")
    assert not is_path("nothing")
    assert not is_path("")


def test_short_names_can_be_part_of_a_file_name():
    assert short_name("mnist") == "mnist"
    assert short_name("/home/me/my faces (small)") == "my-faces-small"
    assert short_name("../a.npy") == "a"
    assert short_name("/") == "data"


def test_nothing_is_downloaded_unasked(refuses, monkeypatch):
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_: pytest.fail("something was downloaded"))
    for name in ("mnist", "fashion-mnist", "cifar10"):
        with refuses(f"gancli data download {name}"):
            load(name)


def test_verify_tells_content_from_packing(mnist_folder, tmp_path, monkeypatch):
    assert verify("digits") == []
    assert {status.state for status in verify("mnist", tmp_path)} == {"missing"}
    statuses = verify("mnist", mnist_folder)
    assert [status.state for status in statuses] == ["differs"] * 4
    assert all("not the one published" in status.detail for status in statuses)


def test_verify_finds_damage(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:-4])
    (folder / "train-labels-idx1-ubyte").write_bytes(bytes(60_007))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(9_000_000)))
    (folder / "t10k-labels-idx1-ubyte").mkdir()
    details = [status.detail for status in verify("mnist", tmp_path)]
    assert "damaged gzip" in details[0]
    assert "expected 60,008 bytes of content, got 60,007" in details[1]
    assert "expected 7,840,016 bytes of content, got more" in details[2]
    assert "is a folder" in details[3]
    assert {status.state for status in verify("mnist", tmp_path)} == {"differs"}


def test_verify_says_what_nobody_has_published(mnist_folder, tmp_path):
    (tmp_path / "tfd").mkdir()
    (tmp_path / "tfd" / "TFD_48x48.mat").write_bytes(b"x")
    (status,) = verify("tfd", tmp_path)
    assert (status.state, status.size) == ("unverified", 1)
    (tmp_path / "fashion-mnist").symlink_to(mnist_folder / "mnist")
    statuses = verify("fashion-mnist", tmp_path)
    assert {status.state for status in statuses} == {"unverified"}
    assert "the right size" in statuses[0].detail


def test_verify_accepts_published_content_however_it_is_packed(tmp_path, monkeypatch):
    # No published file may be part of these tests, so one of our own is registered for the moment.
    import hashlib
    from dataclasses import replace
    from types import MappingProxyType

    content = np.arange(50_000, dtype=np.uint16).tobytes()
    mnist = SOURCES["mnist"]
    file = replace(mnist.files[0], content_sha256=hashlib.sha256(content).hexdigest(), content_size=len(content))
    sources = MappingProxyType({**SOURCES, "mnist": replace(mnist, files=(file,))})
    monkeypatch.setattr("gancli.data.sources.SOURCES", sources)
    monkeypatch.setattr("gancli.data.checksums.SOURCES", sources)
    for name, packed in (
        ("train-images.idx3-ubyte", content),
        ("train-images-idx3-ubyte", content),
        ("train-images-idx3-ubyte.gz", gzip.compress(content, 1)),
        ("train-images-idx3-ubyte.gz", gzip.compress(content, 9)),
    ):
        (tmp_path / name).write_bytes(packed)
        (status,) = verify("mnist", tmp_path)
        assert (status.state, status.path) == ("ok", tmp_path / name)
