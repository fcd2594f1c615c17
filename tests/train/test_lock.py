"""Whose a run folder is."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

import pytest

from gancli.errors import GancliError
from gancli.train import lock
from gancli.train.lock import NAME, locked

fcntl = pytest.importorskip("fcntl", reason="locks of this kind are a Unix matter")


@pytest.fixture(params=["locks", "no locks"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with and on one without locks."""
    if request.param == "no locks":

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return tmp_path / "deep" / "run"


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_one_is_refused_with_the_process_number(folder: Path) -> None:
    with (
        locked(folder),
        pytest.raises(GancliError, match=f"Process {os.getpid()} is training in .*run"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


def test_nothing_is_left_behind(folder: Path) -> None:
    with locked(folder):
        assert (folder / NAME).exists()
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    (folder / ".gancli-0123.tmp").touch()  # of a process that was killed while it wrote
    with locked(folder):
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("text", ["", "{ended} {host}\n"], ids=["empty", "ended process"])
def test_what_a_dead_process_left_is_no_obstacle(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_text(text.format(ended=ended_process(), host=socket.gethostname()))
    with locked(folder):
        assert (folder / NAME).read_text().split() == [str(os.getpid()), socket.gethostname()]


def test_another_machines_lock_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / NAME).write_text("12 elsewhere\n")
    with (
        pytest.raises(GancliError, match=r"Process 12 on elsewhere .*if that process is gone, remove .*lock"),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / NAME).exists()


def test_of_two_that_start_at_once_without_locks_one_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have opened the lock file before either has written its name."""
    both, ended = threading.Barrier(2, timeout=10), threading.Barrier(2, timeout=10)

    def refuse(*_: object) -> None:
        both.wait()
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    outcomes = []

    def start() -> None:
        try:
            with locked(tmp_path):
                outcomes.append("trains")
                ended.wait()
        except GancliError as error:
            outcomes.append(str(error))
            ended.wait()

    def slow(file: TextIO, path: Path) -> bool:  # what precedes the writing
        time.sleep(0.3)
        return is_named(file, path)

    is_named = lock._is_named
    monkeypatch.setattr(lock, "_is_named", slow)
    monkeypatch.setattr(fcntl, "flock", refuse)
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text.split()[0] for text in outcomes) == ["Process", "trains"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GancliError, match=r"run cannot be used: Not a directory"), locked(tmp_path / "file" / "run"):
        pass
