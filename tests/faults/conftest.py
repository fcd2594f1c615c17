"""The process that forks, and places to work in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import TRAIN, Zygote, fingerprint, workplace


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that forks; one for the whole session."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workplace."""
    return workplace(tmp_path / "place")


@pytest.fixture(scope="session")
def unbroken(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The fingerprint of a run that nothing happened to."""
    place = workplace(tmp_path_factory.mktemp("unbroken") / "place")
    ended = zygote.run(place, TRAIN)
    assert ended.code == 0, ended.stderr
    return fingerprint(place / "run")
