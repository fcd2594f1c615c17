"""SIGKILL at any moment, then --resume: the run ends in the bits of one that nothing happened to."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import RESUME, TRAIN, Ended, Zygote, fingerprint, workplace

SIGKILLED = -9


def go_on(zygote: Zygote, place: Path, **order: Any) -> Ended:
    """Begin the run, or continue it as soon as there is one."""
    arguments = RESUME if (place / "run" / "config.json").exists() else TRAIN
    ended = zygote.run(place, arguments, **order)
    assert ended.code in (0, SIGKILLED), ended.stderr
    assert "Warning" not in ended.stderr, ended.stderr  # no checkpoint is ever found damaged
    return ended


def test_a_run_that_dies_in_every_kind_of_file_call_ends_in_the_same_bits(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    """A first process dies in its first write, the next in its second, the next in its first fsync, and so on."""
    for kind in ("write", "fsync", "link", "replace", "unlink"):
        for number in (1, 2):
            assert go_on(zygote, place, at_call=number, kind=kind, deed="kill").code == SIGKILLED, (kind, number)
    assert go_on(zygote, place).code == 0
    assert fingerprint(place / "run") == unbroken


@pytest.mark.slow
def test_a_run_that_dies_at_its_first_second_third_and_every_next_file_call_ends_in_the_same_bits(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    """Each process dies at the next call by which a file is written, synced, linked, renamed or removed."""
    deaths = 0
    for number in itertools.count(1):
        if go_on(zygote, place, at_call=number, deed="kill").code == 0:
            break
        deaths += 1
    assert deaths > 20
    assert fingerprint(place / "run") == unbroken


def die_at_random(zygote: Zygote, place: Path, unbroken: dict[str, Any], deaths: int, seed: int) -> int:
    """Run and resume until so many processes have been killed at random moments; returns how many runs that took."""
    rng, done = random.Random(seed), 0
    for runs in itertools.count(1):
        shutil.rmtree(place / "run", ignore_errors=True)
        longest = zygote.run(place, TRAIN).seconds
        assert fingerprint(place / "run") == unbroken
        shutil.rmtree(place / "run")
        while done < deaths:
            # Most moments lie between the start and a third of a whole run, so that one run dies several times.
            ended = go_on(zygote, place, kill_after=longest * rng.random() ** 2)
            if ended.code == 0:
                break
            done += 1
        else:
            go_on(zygote, place)
        assert fingerprint(place / "run") == unbroken
        if done == deaths:
            return runs
    raise AssertionError


def test_a_run_killed_at_random_moments_ends_in_the_same_bits(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    die_at_random(zygote, place, unbroken, deaths=4, seed=random.randrange(2**32))


@pytest.mark.slow
def test_runs_killed_at_a_hundred_random_moments_end_in_the_same_bits(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    assert die_at_random(zygote, place, unbroken, deaths=100, seed=1) > 1


@pytest.mark.slow
def test_a_run_that_dies_once_at_any_of_its_file_calls_ends_in_the_same_bits(
    zygote: Zygote, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    """One death a run, at every call in turn, from the configuration to the summary."""
    place = workplace(tmp_path / "count")
    zygote.run(place, TRAIN, at_call=0, deed="kill")
    calls = int((place / ".calls").read_text())
    for number in range(1, calls + 1):
        shutil.rmtree(place / "run", ignore_errors=True)
        assert go_on(zygote, place, at_call=number, deed="kill").code == SIGKILLED
        assert go_on(zygote, place).code == 0
        assert fingerprint(place / "run") == unbroken, number


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")
def test_a_second_process_is_refused_while_one_trains(zygote: Zygote, place: Path, unbroken: dict[str, Any]) -> None:
    first = zygote.send(cwd=str(place), arguments=TRAIN, at_iteration=7, deed="sleep", background=True)["pid"]
    while not (place / "sleeping").exists():
        os.sched_yield()
    second = workplace(place / "second")
    (second / "run").symlink_to(place / "run")
    for arguments in (RESUME, TRAIN):
        refused = zygote.run(second, arguments)
        assert refused.code in (1, 2)
        assert "run" in refused.sentence
    assert f"Process {first} is training in run" in zygote.run(second, RESUME).sentence
    ended = zygote.send(wait=first, kill_after=0)
    assert ended["code"] == SIGKILLED
    assert go_on(zygote, place).code == 0  # the dead process's lock is no obstacle
    assert fingerprint(place / "run") == unbroken


def test_a_damaged_last_checkpoint_is_said_and_the_run_ends_in_the_same_bits(
    zygote: Zygote, place: Path, unbroken: dict[str, Any]
) -> None:
    assert zygote.run(place, TRAIN, at_iteration=22, deed="SIGTERM").code == 143
    last = place / "run" / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    drawn = zygote.run(place, ["sample", "--run=run", "--checkpoint=last", "--num=5"])
    resumed = zygote.run(place, RESUME)
    for ended in (drawn, resumed):
        assert ended.code == 0
        assert ended.stderr.startswith("Warning: run/checkpoints/last.pt is ")
        assert "Going on from the one before it, run/checkpoints/previous.pt, of iteration 20." in ended.stderr
    assert fingerprint(place / "run") == unbroken
