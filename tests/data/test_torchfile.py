"""Hostile .pt files: none may run code, take memory, or end in more than one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch
from malicious import MALICIOUS, MARKER, SHELL, Call, Storage, pickled, tensor, write

from gancli.data.samples import read_samples
from gancli.data.torchfile import digest, read_torch_file, write_torch_file


def test_tensors_and_plain_values_come_back(tmp_path):
    content = {
        "weights": OrderedDict(a=torch.randn(3, 4), b=torch.arange(5)),
        "view": torch.arange(100.0).reshape(10, 10)[2:4, ::3],
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.0),
        "random": torch.get_rng_state(),
        "shape": torch.Size([1, 2]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": [1, 2.5, "three", None, True, (4, 5), {"six": -(2**70)}, 1 << 40, ""],
    }
    write_torch_file(tmp_path / "a.pt", content)
    back = read_torch_file(tmp_path / "a.pt")
    assert list(back) == [*content, "sha256"]
    for key in ("view", "half", "flags", "empty", "scalar", "random", "parameter"):
        assert torch.equal(back[key], content[key]), key
        assert back[key].dtype == content[key].dtype
    assert torch.equal(back["weights"]["a"], content["weights"]["a"])
    assert back["plain"] == content["plain"]


def test_the_state_of_networks_and_optimisers_comes_back(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    write_torch_file(tmp_path / "a.pt", {"net": net.state_dict(), "optimiser": optimiser.state_dict()})
    back = read_torch_file(tmp_path / "a.pt")
    net.load_state_dict(back["net"])
    optimiser.load_state_dict(back["optimiser"])


def test_the_crafted_archive_is_one_that_torch_reads(tmp_path):
    write(tmp_path / "a.pt", pickled({"samples": tensor()}))
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=True)["samples"], torch.arange(12.0).reshape(3, 4))
    assert read_torch_file(tmp_path / "a.pt")["samples"].shape == (3, 4)


@pytest.mark.parametrize("name", MALICIOUS)
def test_nothing_but_tensors_and_plain_values_is_loaded(tmp_path, refuses, frugal, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pt", pickled(MALICIOUS[name]))
    with frugal(5_000_000), refuses("a.pt", "tensors and plain values"):
        read_torch_file(tmp_path / "a.pt")
    with refuses("a.pt", "samples file"):
        read_samples(tmp_path / "a.pt")
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_pickle_protocol_smuggles_a_call(tmp_path, refuses, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pt", pickled({"samples": Call(os.system, SHELL)}, protocol))
    with refuses("a.pt"):
        read_torch_file(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickled(Call(os.system, SHELL), protocol))  # not even an archive
    with refuses("b.pt", "torch.save"):
        read_torch_file(tmp_path / "b.pt")
    assert not (tmp_path / MARKER).exists()


def test_opcodes_that_pickle_classes_by_other_ways_are_refused(tmp_path, refuses, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for attack in (
        b"\x80\x02cos\nsystem\nU\x05touchq\x00\x85R.",  # SHORT_BINSTRING
        b"\x80\x02(S'touch x'\nios\nsystem\n.",  # INST
        b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00xo.",  # OBJ
        b"\x80\x02cos\nsystem\n)\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02r\xff\xff\xff\xff.",  # LONG_BINPUT, for which C's unpickler would take 64 GB
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",  # BINBYTES8 of a terabyte
        b"\x80\x02X\xff\xff\xff\x7fx.",
        b"\x80\x02" + b"(" * 1000 + b".",
        b"",
        b".",
    ):
        write(tmp_path / "a.pt", attack)
        with refuses("a.pt"):
            read_torch_file(tmp_path / "a.pt")


LYING: dict[str, tuple[Any, str]] = {
    "stride 0": (tensor(size=(10**9, 4), stride=(0, 1)), "does not fit"),
    "beyond the end": (tensor(size=(4, 4)), "does not fit"),
    "an offset beyond the end": (tensor(offset=1), "does not fit"),
    "a stride beyond the end": (tensor(stride=(5, 1)), "does not fit"),
    "a negative offset": (tensor(offset=-1), "impossible shape"),
    "a negative stride": (tensor(stride=(-4, 1)), "impossible shape"),
    "a negative size": (tensor(size=(-3, -4)), "impossible shape"),
    "a fractional size": (tensor(size=(3.0, 4)), "impossible shape"),
    "fewer strides than sizes": (tensor(stride=(1,)), "impossible shape"),
    "a huge size": (tensor(size=(1 << 62, 4)), "impossible shape"),
    "a size that is no tuple": (tensor(size=12), "does not use"),
    "no storage": (Call(torch._utils._rebuild_tensor_v2, 5, 0, (3,), (1,), False, OrderedDict()), "does not use"),
    "too few arguments": (Call(torch._utils._rebuild_tensor_v2), "argument"),
    "a storage of more": (tensor(Storage(numel=10**12)), "should have 4,000,000,000,000 bytes"),
    "a storage of less": (tensor(Storage(numel=11)), "should have 44 bytes"),
    "a storage of another type": (tensor(Storage(torch.DoubleStorage)), "should have 96 bytes"),
    "a storage that is not there": (tensor(Storage(key="7")), "missing"),
    "a storage of odd name": (tensor(Storage(key="../../version")), "missing"),
    "a dictionary with arguments": (Call(OrderedDict, [(1, 2)]), "not one that torch.save writes"),
}


@pytest.mark.parametrize("name", LYING)
def test_tensors_that_do_not_lie_in_their_data_are_refused(tmp_path, refuses, frugal, name):
    content, words = LYING[name]
    write(tmp_path / "a.pt", pickled({"samples": content}))
    with frugal(5_000_000), refuses("a.pt", words):
        read_torch_file(tmp_path / "a.pt")


def test_references_outside_the_archive_are_refused(tmp_path, refuses):
    storage = Storage()
    for pid in (("module", "x", "y", "z"), "plain", ("storage", 5, "0", "cpu", 12), ("storage",), 7):
        storage.pid = pid  # type: ignore[assignment]
        write(tmp_path / "a.pt", pickled({"samples": storage}))
        with refuses("a.pt", "outside itself"):
            read_torch_file(tmp_path / "a.pt")


def test_compressed_records_are_refused_before_they_are_unpacked(tmp_path, refuses, frugal):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "a/data.pkl", pickled({"samples": tensor(Storage(numel=5 << 20), size=(5 << 20,), stride=(1,))})
        )
        archive.writestr("a/data/0", bytes(20 << 20))
    with frugal(5_000_000), refuses("compressed records"):
        read_torch_file(tmp_path / "a.pt")


def test_records_that_share_their_bytes_are_refused(tmp_path, refuses):
    path = tmp_path / "a.pt"
    write(path, pickled({"samples": tensor()}), **{"a/data/1": bytes(1000)})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1) + 1)
    content[entry + 20 : entry + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with refuses("promise more bytes than the file has"):
        read_torch_file(path)


def test_two_records_of_one_name_are_refused(tmp_path, refuses):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickled({}))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", pickled(Call(os.system, SHELL)))
    with refuses("same name"):
        read_torch_file(tmp_path / "a.pt")


def test_other_archives_are_refused(tmp_path, refuses):
    path = tmp_path / "a.pt"
    write(path, pickled({}), **{"a/constants.pkl": b"", "a/code/x.py": b""})
    with refuses("TorchScript"):
        read_torch_file(path)
    write(path, pickled({}), **{"b/data.pkl": pickled({})})
    with refuses("another kind of zip"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", b"<xml/>")
    with refuses("another kind of zip"):
        read_torch_file(path)
    write(path, pickled({}))
    whole = path.read_bytes()
    for content, word in ((b"junk" + whole, "begin"), (whole + b"junk", "end"), (whole[:-3], "end"), (b"", "begin")):
        path.write_bytes(content)
        with refuses("a.pt", word):
            read_torch_file(path)


def test_values_that_multiply_are_refused(tmp_path, refuses):
    values: list[Any] = ["x"]
    for _ in range(40):
        values = [values, values]  # 2^40 of them, in some hundred bytes
    write(tmp_path / "a.pt", pickled(values))
    with refuses("a.pt", "more than 1,000,000 values"):
        read_torch_file(tmp_path / "a.pt")


def test_values_that_nest_without_end_are_refused(tmp_path, refuses):
    write(tmp_path / "a.pt", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with refuses("a.pt"):
        read_torch_file(tmp_path / "a.pt")
    write(tmp_path / "a.pt", b"\x80\x02]q\x00h\x00a.")  # a list that holds itself
    with refuses("a.pt", "deep"):
        read_torch_file(tmp_path / "a.pt")


def test_too_large_a_pickle_is_refused(tmp_path, refuses):
    write(tmp_path / "a.pt", b"\x80\x02X" + (9 << 20).to_bytes(4, "little") + bytes(9 << 20) + b".")
    with refuses("8 MiB"):
        read_torch_file(tmp_path / "a.pt")


def test_flipped_bytes_never_end_in_a_traceback(tmp_path):
    """Every byte of a small file is broken in turn, and the file is cut at every length, in a process of its own.

    A crash of native code would take the test run with it otherwise.
    """
    write_torch_file(tmp_path / "a.pt", {"samples": torch.rand(2, 1, 2, 2), "seed": 3, "dataset": "mnist"})
    script = """
import sys
from pathlib import Path
from gancli.data.samples import read_samples
from gancli.errors import GancliError
path = Path(sys.argv[1]); whole = path.read_bytes(); broken = path.with_name("b.pt")
for i in range(0, len(whole), 5):
    for content in (whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1:], whole[:i]):
        broken.write_bytes(content)
        try:
            read_samples(broken)
        except GancliError as error:
            assert "\\n" not in str(error), str(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path / "a.pt")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""


def test_the_digest_does_not_depend_on_how_a_single_number_lies():
    single = torch.stack([torch.ones(1), torch.zeros(1)], dim=-1)[..., 0]
    assert single.stride() == (2,)
    assert digest({"bias": single}) == digest({"bias": torch.ones(1)})
