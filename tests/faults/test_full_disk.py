"""A disk that fills up at any write: a sentence, exit code 1, and a run that goes on once there is room."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import RESUME, TRAIN, Zygote, fingerprint, workplace


def go_on(zygote: Zygote, place: Path, unbroken: dict[str, Any]) -> None:
    """Continue the run without obstacle and hold it against the unbroken one."""
    begun = (place / "run" / "config.json").exists()
    ended = zygote.run(place, RESUME if begun else TRAIN)
    assert ended.code == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert fingerprint(place / "run") == unbroken


def fill_at(zygote: Zygote, place: Path, unbroken: dict[str, Any], numbers: Iterator[int]) -> int:
    """Let the disk be full from each of these file calls on; returns how many runs that stopped."""
    stopped = 0
    for number in numbers:
        shutil.rmtree(place / "run", ignore_errors=True)
        ended = zygote.run(place, TRAIN, at_call=number, deed="full")
        if ended.code == 0:  # nothing was written after that call
            break
        assert ended.code == 1
        assert "full" in ended.sentence, ended.sentence
        assert not list((place).rglob("*.tmp"))
        go_on(zygote, place, unbroken)
        stopped += 1
    return stopped


def test_a_full_disk_at_a_few_writes_stops_the_run_with_a_sentence(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    assert fill_at(zygote, place, unbroken, iter((1, 25, 60))) == 3


@pytest.mark.slow
def test_a_full_disk_at_every_write_stops_the_run_with_a_sentence(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    assert fill_at(zygote, place, unbroken, itertools.count(1)) > 50


@pytest.mark.parametrize(
    ("limit", "file"),
    [(500, "config.json"), (1200, "epoch-0001.png"), (4500, "best.pt"), (10_000, "last.pt")],
)
def test_a_file_size_limit_stops_the_run_with_a_sentence(
    zygote: Zygote, place: Path, unbroken: dict[str, Any], limit: int, file: str
) -> None:
    ended = zygote.run(place, TRAIN, file_size=limit)
    assert ended.code == 1
    assert f"{file}: the file would be larger than the system allows" in ended.sentence
    go_on(zygote, place, unbroken)


def test_metrics_that_cannot_be_appended_stop_the_run_and_lose_nothing(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    assert zygote.run(place, TRAIN, at_iteration=15, deed="SIGTERM").code == 143
    metrics = place / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows[0]["padding"] = "x" * (19_900 - metrics.stat().st_size)
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = zygote.run(place, RESUME, file_size=20_000)  # more than any other file
    assert ended.code == 1
    assert "metrics.jsonl: the file would be larger" in ended.sentence
    assert "The last good state, of iteration 20, is kept in run/checkpoints/last.pt" in ended.sentence
    rows = [json.loads(line) for line in metrics.read_text().splitlines()[:3]]  # the fourth is cut
    del rows[0]["padding"]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    go_on(zygote, place, unbroken)


def test_samples_that_do_not_fit_stop_the_command_and_leave_no_file(zygote: Zygote, place: Path) -> None:
    ended = zygote.run(place, [*TRAIN, "--num-samples=500"], file_size=20_000)
    assert ended.code == 1
    assert "samples.pt: the file would be larger" in ended.sentence
    assert "iteration 30" in ended.sentence
    assert zygote.run(place, RESUME).code == 0
    for out in ("out.pt", "out.npy", "out.png"):
        # A picture holds 100 samples at most, so its limit is another.
        ended = zygote.run(
            place, ["sample", "--run=run", f"--out={out}"], file_size=500 if out == "out.png" else 20_000
        )
        assert ended.code == 1
        assert f"{out}: the file would be larger" in ended.sentence
        assert not (place / out).exists()
        assert not list(place.glob(".gancli*"))


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0  # noqa: S607


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A workplace whose run folder is a file system of its own."""
    place = workplace(tmp_path / "place")
    (place / "run").mkdir()
    if not mount("-t", "tmpfs", "-o", "size=4k", "none", str(place / "run")):
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", str(place / "run")], check=True)  # noqa: S607


def test_a_small_disk_fills_up_and_grows(zygote: Zygote, small_disk: Path, unbroken: dict[str, Any]) -> None:
    """Page by page, the run comes a little further each time, and in the end to the same bits."""
    run, stops = small_disk / "run", 0
    for pages in range(2, 60, 3):
        assert mount("-o", f"remount,size={pages * 4}k", str(run))
        ended = zygote.run(small_disk, RESUME if (run / "config.json").exists() else TRAIN)
        if ended.code == 0:
            break
        assert ended.code == 1
        assert "full" in ended.sentence
        stops += 1
    assert stops > 5
    assert fingerprint(run) == unbroken


def test_a_read_only_disk_is_named(zygote: Zygote, small_disk: Path, unbroken: dict[str, Any]) -> None:
    run = small_disk / "run"
    assert mount("-o", "remount,size=1m", str(run))
    assert zygote.run(small_disk, TRAIN, at_iteration=12, deed="SIGTERM").code == 143
    assert mount("-o", "remount,ro", str(run))
    ended = zygote.run(small_disk, RESUME)
    assert ended.code == 1
    assert "ead-only file system" in ended.sentence
    assert mount("-o", "remount,rw", str(run))
    assert zygote.run(small_disk, RESUME).code == 0
    assert fingerprint(run) == unbroken
