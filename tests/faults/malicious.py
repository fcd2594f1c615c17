"""Pickles that run code, or would take a terabyte, where somebody loads them without looking."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Storage:
    """Pickles to a reference to a record of the archive."""

    def __init__(self, kind: Any = torch.FloatStorage, key: str = "0", numel: int = 12) -> None:
        self.pid = ("storage", kind, key, "cpu", numel)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, Storage) else None


def tensor(storage: Storage | None = None, offset: Any = 0, size: Any = (3, 4), stride: Any = (4, 1)) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, storage or Storage(), offset, size, stride, False, OrderedDict())


def pickled(content: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(content)
    return buffer.getvalue()


def write(path: Path, pickle_bytes: bytes, *, method: int = zipfile.ZIP_STORED, **more: bytes) -> None:
    """An archive as torch.save writes it, with another pickle in it."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/data.pkl", pickle_bytes)
        archive.writestr("a/byteorder", b"little")
        archive.writestr("a/data/0", torch.arange(12.0).numpy().tobytes())
        archive.writestr("a/version", b"3\n")
        for name, content in more.items():
            archive.writestr(name, content)


MARKER = "gancli-was-here"
SHELL = f"touch {MARKER}"
CODE = f"open({MARKER!r}, 'w').close()"
MALICIOUS: dict[str, Any] = {
    "os.system": Call(os.system, SHELL),
    "eval": Call(eval, CODE),
    "exec": Call(exec, CODE),
    "subprocess": Call(subprocess.call, ["touch", MARKER]),
    "open": Call(open, MARKER, "w"),
    "getattr": Call(getattr, Call(__import__, "os"), "system"),
    "nested in samples": {"samples": [1, {"deep": Call(os.system, SHELL)}]},
    "torch.load": Call(torch.load, "other.pt"),
    "a key": {Call(os.system, SHELL): 1},
    "a module": torch.nn.Linear(2, 2),
    "a class": Path,
    "bytearray of a terabyte": Call(bytearray, 1 << 40),
    "a storage of a terabyte": Call(torch.FloatStorage, 1 << 38),
    "a tensor class of a terabyte": Call(torch.FloatTensor, 1 << 38),
    "complex": 1j,
    "a set": {1, 2},
    "a device": torch.device("cpu"),
    "a type": torch.float32,
}
