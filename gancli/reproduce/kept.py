"""Answers that are kept in a file: what was computed once from the same inputs is not computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gancli.data.dataset import Dataset
from gancli.files import atomic_write_text


class Kept:
    """A JSON file of answers by name, each with the inputs that it belongs to.

    Args:
        path: the file; it is made when the first answer is there. One that cannot be read counts as empty, since
            everything in it can be computed anew.
        common: inputs of every answer, e.g. the data and the versions.
    """

    def __init__(self, path: Path, common: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.path, self._common = path, common

    def get(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the kept answer, or compute it and keep it.

        Args:
            name: of the answer.
            inputs: plain values that decide it; where they differ from the kept ones, it is computed again.
            compute: returns it as plain values.
        """
        known = self.find(name, inputs)
        if known is None:
            # Through JSON, so that a fresh answer equals the one that will be read back.
            known = json.loads(json.dumps(compute()))
            content = {**self._read(), name: {"inputs": {**self._common, **inputs}, "answer": known}}
            atomic_write_text(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return known

    def find(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the kept answer, or None."""
        entry = self._read().get(name)
        if not isinstance(entry, dict) or entry.get("inputs") != json.loads(json.dumps({**self._common, **inputs})):
            return None
        answer = entry.get("answer")
        return answer if isinstance(answer, dict) else None

    def names(self) -> set[str]:
        """Return the names of all answers that are kept, whatever their inputs."""
        return set(self._read())

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def data_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of all examples of a data set, to tell whether an answer belongs to them."""
    digest = hashlib.sha256()
    splits = [part for fold in dataset.folds or (dataset,) for part in (fold.valid, fold.test)]
    for part in (dataset.train, *splits):
        digest.update(repr((part.dtype, tuple(part.shape))).encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, to tell whether an answer belongs to it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
