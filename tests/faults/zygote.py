"""A process that has imported everything once and forks a gancli command for each line of JSON that it is sent.

Starting Python and torch takes seconds; a fork takes milliseconds, so that a run can be killed a hundred times. Each
child runs the real command line in a process of its own, whose end, by exit or by signal, is answered in JSON.

Never imported by the tests: they run it with OMP_NUM_THREADS=1, since threads do not survive a fork.
"""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

import gancli.cli.progress
import gancli.evaluate.scoring
import gancli.figures.grid
import gancli.train.sampling
import gancli.train.trainer
from gancli import files
from gancli.cli import main

__all__ = ["gancli"]


def child(order: dict[str, Any]) -> None:
    """Run one command; never returns."""
    os.chdir(order["cwd"])
    for name in ("stdout", "stderr"):
        descriptor = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1 if name == "stdout" else 2)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
    if "file_size" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], resource.RLIM_INFINITY))
    if "more_memory" in order:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + order["more_memory"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    if "at_call" in order:
        interfere(order["at_call"], order["deed"], order.get("kind"))
    if "at_iteration" in order:
        at_iteration(order["at_iteration"], order["deed"])
    code = 0
    try:
        main(order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def interfere(number: int, deed: str, kind: str | None) -> None:
    """Count the calls by which files come to be and go; at the given one the process dies, or the disk is full.

    With `kind`, "write" or the name of a function of os, only these calls count. Number 0 does nothing; ".calls" then
    says how many there were.
    """
    count = 0

    def before(call: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal count
        if kind not in (None, call.__name__):
            return call(*arguments, **more)
        count += 1
        if count == number and deed == "kill":
            if call is write and len(arguments[1]) > 1:  # half of it is written
                call(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        if count >= number > 0 and deed == "full" and call in (write, fsync):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number == 0:
            Path(order_cwd, ".calls").write_bytes(str(count).encode())
        return call(*arguments, **more)

    order_cwd = os.getcwd()
    write, fsync = files._WatchedFile.write, os.fsync
    files._WatchedFile.write = lambda *a: before(write, *a)  # type: ignore[method-assign]
    for name in ("fsync", "link", "replace", "unlink"):
        watched = functools.partial(before, getattr(os, name))
        setattr(os, name, watched)
        if sys.version_info < (3, 11):  # pathlib keeps its own references there
            setattr(Path._accessor, name, watched)  # type: ignore[attr-defined]


def at_iteration(number: int, deed: str) -> None:
    """Do something after an iteration: send a signal by its name, "rename", "remove" or "block" the folder, "sleep"."""

    def iteration(self: Any, step: int) -> None:
        original(self, step)
        if step != number:
            return
        if deed.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, deed))
        elif deed == "rename":
            os.rename("run", "elsewhere")
        elif deed == "remove":
            shutil.rmtree("run")
        elif deed == "block":
            shutil.rmtree("deep")
            Path("deep").touch()
        elif deed == "sleep":
            Path("sleeping").touch()
            time.sleep(60)

    original = gancli.cli.progress.TrainingProgress.iteration
    gancli.cli.progress.TrainingProgress.iteration = iteration  # type: ignore[method-assign]


def answer(content: dict[str, Any]) -> None:
    """Send a line of JSON back."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Answer each order with how its process ended."""
    torch.set_num_threads(1)
    children: dict[int, float] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            pid = order["wait"]
        else:
            pid = os.fork()
            if pid == 0:
                child(order)
            children[pid] = time.monotonic()
        if order.get("background"):
            answer({"pid": pid})
            continue
        kill_after, status = order.get("kill_after"), 0
        while kill_after is not None:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() - children[pid] >= kill_after:
                os.kill(pid, signal.SIGKILL)
                kill_after = None
            else:
                time.sleep(0.0005)
        else:
            _, status = os.waitpid(pid, 0)
        ended = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - children.pop(pid)}
        answer(ended)


if __name__ == "__main__":
    # Whoever runs the tests behind nohup or a shell's & ignores signals, which gancli would go on doing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    serve()
