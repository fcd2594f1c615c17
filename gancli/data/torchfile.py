""".pt files from anywhere: tensors and plain values, checked before a byte of them is unpickled or unpacked.

`torch.load(weights_only=True)` runs no foreign code, but it can still be made to take memory without end (a tensor
with stride 0, a storage class called with a huge number, compressed records). So the file is read twice: first by an
unpickler that builds nothing but descriptions, which holds every promise against the bytes that are there; then by
torch. What gancli writes carries the SHA-256 of its content, since torch does not check even the archive's own
checksums.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from gancli.data.untrusted import open_file
from gancli.errors import DataError
from gancli.files import atomic_write

# What torch.save writes for tensors and plain values, in pickle protocol 2.
_OPCODES = frozenset(
    (
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    )
)
_ITEM_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip
CHECKSUM = "sha256"  # the entry of a dictionary that holds the digest of all others
_MAX_PICKLE_BYTES = 8 << 20
_MAX_OPCODES = 4_000_000  # a few for each value
_MAX_RECORDS = 100_000
_MAX_VALUES = 1_000_000
_MAX_SHARING = 16  # bytes of tensors for each byte of the file


def write_torch_file(path: Path, content: dict[str, Any], *, previous: Path | None = None) -> None:
    """Save tensors and plain values, so that the name holds either the old file or the whole new one.

    Args:
        path: the file.
        content: what to save; the entry "sha256" is added.
        previous: the name under which the old file is kept.

    Raises:
        GancliError: the folder cannot be written to, or the disk is full.
    """
    checked = {**_by_themselves(content), CHECKSUM: digest(content)}
    atomic_write(path, lambda file: torch.save(checked, file), previous=previous)


def _by_themselves(value: Any) -> Any:
    """Copy the tensors that are parts of larger memory: torch would save all of that."""
    if isinstance(value, Tensor):
        whole = value.untyped_storage().nbytes() == value.numel() * value.element_size()
        return value if whole else value.detach().clone()
    if isinstance(value, dict):
        return {key: _by_themselves(entry) for key, entry in value.items()}
    return value


def read_torch_file(path: Path, *, what: str = "a .pt file of tensors and plain values") -> Any:
    """Read what `write_torch_file`, or torch.save on tensors and plain values, has written.

    Args:
        path: the file.
        what: what was expected there, for errors.

    Returns:
        The object, all tensors on the CPU. Where it is a dictionary with an entry "sha256", its content is as written.

    Raises:
        DataError: not such a file, damaged, or it carries anything but tensors and plain values.
    """
    with open_file(path) as (file, size):
        try:
            _check_archive(file, size)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = torch.load(file, map_location="cpu", weights_only=True)
            _check_values(content, size)
            _check_digest(content)
        except _RefusedError as error:
            raise DataError(f"{path} is not {what}: {error}; it was not loaded.") from error
        except Exception as error:
            # zipfile, pickle and torch raise whatever they trip over; to the user it is one thing, a damaged file.
            reason = str(error).split("\n", 1)[0][:120] or type(error).__name__
            raise DataError(f"{path} is damaged, or not {what} ({reason}); it was not loaded.") from error
        return content


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of everything in a dictionary but its own entry "sha256".

    It depends on names, values, types, shapes and every bit of the tensors, and not on devices or on how a file lays
    them out.
    """
    hashed = hashlib.sha256()
    _hash({key: value for key, value in content.items() if key != CHECKSUM}, hashed)
    return hashed.hexdigest()


def _hash(value: Any, hashed: hashlib._Hash) -> None:
    """Feed a value to a hash, each part after its kind and length, so that no two values look alike."""
    if isinstance(value, Tensor):
        tensor = value.detach().cpu().contiguous()
        hashed.update(f"tensor {tensor.dtype} {tuple(tensor.shape)} ".encode())
        values = tensor.as_strided((tensor.numel(),), (1,))  # a single number counts as contiguous at any stride
        hashed.update(values.view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        hashed.update(f"dict {len(value)} ".encode())
        for key, item in value.items():
            _hash(key, hashed)
            _hash(item, hashed)
    elif isinstance(value, (list, tuple)):
        hashed.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)} ".encode())
        for item in value:
            _hash(item, hashed)
    else:
        text = repr(value).encode("utf-8", "backslashreplace")
        hashed.update(f"{type(value).__name__} {len(text)} ".encode() + text)


class _RefusedError(Exception):
    """The file is well-formed but carries something that is not taken."""


class _Storage:
    """Stands for a storage while looking: its record and number of elements."""

    def __init__(self, numel: int) -> None:
        self.numel = numel


class _StorageType:
    """Stands for a storage class; calling it is an error, where torch would allocate."""

    def __init__(self, item_bytes: int) -> None:
        self.item_bytes = item_bytes


def _check_archive(file: BinaryIO, size: int) -> None:
    """Look at the zip file that torch.save writes without loading any of it."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise _RefusedError("it does not begin as a file of torch.save (PyTorch 1.6 or later) does")
    file.seek(max(0, size - 22))
    if file.read(4) != b"PK\x05\x06":
        # With a comment, or bytes after the end, Python's and torch's readers might see two different archives.
        raise _RefusedError("it does not end as a file of torch.save does, as if it had been cut or appended to")
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        if len(records) > _MAX_RECORDS or len(set(names)) != len(names):
            raise _RefusedError(f"it has {len(records):,} records, too many or with the same name")
        if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
            raise _RefusedError("it has compressed records, which torch.save never writes")
        if sum(record.file_size for record in records) > size:
            raise _RefusedError("its records promise more bytes than the file has")
        pickles = [name for name in names if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1 or any(name.endswith("constants.pkl") for name in names):
            raise _RefusedError("it is another kind of zip file, or a TorchScript program")
        (root,) = pickles
        if archive.getinfo(root).file_size > _MAX_PICKLE_BYTES:
            raise _RefusedError(f"its plain values take more than {_MAX_PICKLE_BYTES >> 20} MiB")
        pickled = archive.read(root)
        prefix = root.removesuffix("data.pkl") + "data/"
        sizes = {r.filename.removeprefix(prefix): r.file_size for r in records if r.filename.startswith(prefix)}
    _check_opcodes(pickled)
    _Looker(pickled, sizes).load()


def _check_opcodes(pickled: bytes) -> None:
    """Refuse what the C unpickler would take memory for on a mere number in the file."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        if opcode.name not in _OPCODES:
            raise _RefusedError(f"it carries more than tensors and plain values (pickle's {opcode.name})")
        if count > _MAX_OPCODES:
            raise _RefusedError(f"its pickle has more than {_MAX_OPCODES:,} instructions")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > count:
            raise _RefusedError("its pickle is not one that torch.save writes")


class _Looker(pickle.Unpickler):
    """Unpickle to descriptions: no tensor, no class of anyone's, only what is needed to add up sizes."""

    def __init__(self, pickled: bytes, record_sizes: dict[str, int]) -> None:
        super().__init__(BytesIO(pickled))
        self._record_sizes = record_sizes

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _ITEM_BYTES:
            return _StorageType(_ITEM_BYTES[name])
        if (module, name) == ("collections", "OrderedDict"):
            return _no_arguments_dict
        if (module, name) == ("torch", "Size"):
            return tuple
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _look_at_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _look_at_parameter
        raise _RefusedError(f"it carries more than tensors and plain values ({module}.{name})"[:200])

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str() as key, str(), int() as numel):
                if key not in self._record_sizes:
                    raise _RefusedError(f"its tensor data {key[:20]!r} are missing")
                if self._record_sizes[key] != numel * kind.item_bytes:
                    raise _RefusedError(
                        f"a tensor's data should have {numel * kind.item_bytes:,} bytes and have "
                        f"{self._record_sizes[key]:,}"
                    )
                return _Storage(numel)
        raise _RefusedError("it refers to something outside itself")


def _no_arguments_dict(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise _RefusedError("its pickle is not one that torch.save writes")
    return OrderedDict()


def _look_at_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
    """Check that the tensor lies within its storage and is no larger than it (no stride 0)."""
    match storage, offset:
        case _Storage(numel=numel), int() if isinstance(size, tuple) and isinstance(stride, tuple):
            dims = (*size, *stride, offset)
            if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in dims) or len(size) != len(stride):
                raise _RefusedError("a tensor has an impossible shape")
            total = math.prod(size)
            last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            if total and (last >= numel or total > numel):
                raise _RefusedError(f"a tensor of {total:,} values does not fit into its {numel:,} stored values")
            return
    raise _RefusedError("a tensor is described in a way that torch.save does not use")


def _look_at_parameter(*_: Any) -> None:
    """A parameter wraps a tensor that has been looked at already."""


def _check_values(content: Any, size: int) -> None:
    """Make sure that nothing but tensors and plain values came out of a file of `size` bytes, and not too many.

    Values are counted each time they are reached: lists that hold each other many times over are small in a file and
    endless to walk, and so are tensors that share their data.
    """
    count, tensor_bytes = 0, 0
    stack = [(content, 0)]
    while stack:
        value, depth = stack.pop()
        count += 1
        if count > _MAX_VALUES or depth > 64:
            raise _RefusedError(f"it has more than {_MAX_VALUES:,} values, or nests them more than 64 deep")
        if isinstance(value, dict):
            stack.extend((key, depth + 1) for key in value)
            stack.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, (list, tuple, set)):
            stack.extend((item, depth + 1) for item in value)
        elif isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise _RefusedError("it has a tensor that is sparse, quantised or without data")
            tensor_bytes += value.nbytes
            if tensor_bytes > _MAX_SHARING * size:
                raise _RefusedError(f"its tensors hold the same data more than {_MAX_SHARING} times over")
        elif not (value is None or isinstance(value, (bool, int, float, str, bytes))):
            raise _RefusedError(f"it carries more than tensors and plain values ({type(value).__name__})")


def _check_digest(content: Any) -> None:
    """Hold a dictionary that carries its digest against it."""
    if isinstance(content, dict) and CHECKSUM in content and content[CHECKSUM] != digest(content):
        raise ValueError("its content is not what was written: the SHA-256 differs")
