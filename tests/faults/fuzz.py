"""Feed every reader with what a coverage-guided fuzzer thinks of: `python tests/faults/fuzz.py --inputs 1000000`.

Needs `pip install atheris` (libFuzzer for Python). Each reader gets its share of the inputs in a process of its own: an
exception other than the one-sentence refusal, a crash, an input that takes longer than 10 s or a process beyond 1 GiB
ends the run with exit code 1, and the input stays in the folder that is named.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import atheris

SECONDS_PER_INPUT, MIB = 10, 1024
_INSTRUMENTED = ["gancli", "PIL"]


# Shares of the inputs: what a reader takes for one differs by a factor of fifty. Images may be 4096 × 4096.
SHARES = dict.fromkeys(("gif", "jpeg", "tiff", "webp", "bmp", "pgm"), 0.25) | {
    "tar.gz": 0.2,
    "tar.gz, unpacked": 0.2,
    "mat": 0.2,
    "checkpoint": 0.4,
    "checkpoint, its pickle": 0.4,
    "config.json": 0.4,
}


def fuzz(target: str, inputs: int, work: Path) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    from readers import INSIDE, READERS, read_or_refuse

    name, inner, wrap = INSIDE.get(target, (target, bytes, bytes))
    reader = READERS[name]
    (work / "corpus").mkdir()
    (work / "corpus" / "good").write_bytes(inner(reader.good()))
    path = work / "place" / reader.name
    path.parent.mkdir()

    def one(content: bytes) -> None:
        read_or_refuse(reader, path, wrap(content))

    options = (
        f"-runs={inputs}",
        "-max_len=8192",
        "-len_control=10",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MIB}",
        f"-artifact_prefix={work}/",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *options, str(work / "corpus")], one)
    atheris.Fuzz()


def fuzz_in_a_child(target: str, inputs: int) -> bool:
    """Fuzz one target in a child process and print its row; returns whether nothing was found."""
    work = Path(tempfile.mkdtemp(prefix="gancli-fuzz-"))  # TMPDIR=/dev/shm spares the disk
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if pid == 0:
        log = os.open(work / "log", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        fuzz(target, inputs, work)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    log_text = (work / "log").read_text(errors="replace")
    stats = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", log_text)}
    coverage = re.findall(r"cov: (\d+)", log_text)
    row = {
        "target": target,
        "inputs": stats.get("number_of_executed_units", 0),
        "edges": int(coverage[-1]) if coverage else 0,
        "kept": stats.get("new_units_added", 0),
        "slowest_s": stats.get("slowest_unit_time_sec", 0),
        "peak_mib": stats.get("peak_rss_mb", 0),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "seconds": round(time.monotonic() - start),
    }
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()
    if status:
        sys.stderr.write(f"{target} failed; its input is in {work}\n{log_text[-4000:]}\n")
        return False
    shutil.rmtree(work)
    return True


def main() -> None:
    """Parse the options and fuzz one target after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--only", nargs="+", metavar="TARGET", help="some targets")
    options = parser.parse_args()
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from readers import INSIDE, READERS

    targets = options.only or [*READERS, *INSIDE]
    shares = {target: SHARES.get(target, 1.0) for target in targets}
    per_share = options.inputs / sum(shares.values())
    good = [fuzz_in_a_child(target, math.ceil(per_share * shares[target])) for target in targets]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
