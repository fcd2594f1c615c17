"""Feed every reader with what a coverage-guided fuzzer thinks of: `python tests/faults/fuzz.py --inputs 1000000`.

Needs `pip install atheris` (libFuzzer for Python). Each reader gets its share of the inputs in a process of its own; an
exception other than the one-sentence refusal, a crash, an input that takes longer than 10 s or a process beyond 1 GiB
ends the run with exit code 1, and the input stays in the folder that is named.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

SECONDS_PER_INPUT, MIB = 10, 1024
_INSTRUMENTED = ["gancli.data", "gancli.train.checkpoints", "gancli.train.run_folder", "gancli.config", "gancli.nets.spec"]
_FOREIGN = ["zipfile", "gzip", "json", "PIL", "numpy.lib", "scipy.io"]


def in_archive(pickled: bytes) -> bytes:
    """Wrap a pickle as torch.save does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(64))
        archive.writestr("a/version", b"3\n")
    return buffer.getvalue()


def in_npz(array: bytes) -> bytes:
    """Wrap an .npy file as numpy.savez does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", array)
    return buffer.getvalue()


def packed(content: bytes) -> bytes:
    """Compress, as fast as can be."""
    return gzip.compress(content, 1)


def pickle_of(archive: bytes) -> bytes:
    """Return the pickle of a .pt file."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))


# Behind a checksum or compression, mutated bytes hardly reach the parser: these mutate what is inside instead.
# name -> (reader, from its good file to the inner bytes, from inner bytes to a file)
INSIDE: dict[str, tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "pt, its pickle": ("pt", pickle_of, in_archive),
    "checkpoint, its pickle": ("checkpoint", pickle_of, in_archive),
    "npz, its array": ("npz", lambda good: zipfile.ZipFile(io.BytesIO(good)).read("a.npy"), in_npz),
    "idx.gz, unpacked": ("idx.gz", gzip.decompress, packed),
    "tar.gz, unpacked": ("tar.gz", gzip.decompress, packed),
}
# Shares of the inputs: what a reader takes for one differs by a factor of fifty.
SHARES = {"tar.gz": 0.3, "tar.gz, unpacked": 0.5, "mat": 0.3, "checkpoint": 0.6, "checkpoint, its pickle": 0.6}


def fuzz_one(target: str, inputs: int, work: str) -> None:
    """Fuzz one reader in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED + _FOREIGN):
        from readers import READERS, read_or_refuse

    name, inner, wrap = INSIDE.get(target, (target, bytes, bytes))
    reader = READERS[name]
    corpus = Path(work, "corpus")
    corpus.mkdir()
    (corpus / "good").write_bytes(inner(reader.good()))
    path = Path(work, "place", reader.name)
    path.parent.mkdir()

    def one(content: bytes) -> None:
        read_or_refuse(reader, path, wrap(content))

    options = (
        f"-runs={inputs}",
        "-max_len=8192",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MIB}",
        f"-artifact_prefix={work}/",
        "-print_final_stats=1",
        "-verbosity=1",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def fuzz_all(inputs: int, targets: list[str]) -> int:
    """Fuzz each target in a process of its own and print a table; returns the exit code."""
    shares = {target: SHARES.get(target, 1.0) for target in targets}
    bad, total = 0, 0
    for target in targets:
        runs = -(-inputs * shares[target] // sum(shares.values()))
        work = tempfile.mkdtemp(prefix="gancli-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        start = time.monotonic()
        command = [sys.executable, __file__, "--only", target, "--inputs", str(int(runs)), "--work", work]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        stats = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", done.stderr)}
        coverage = re.findall(r"cov: (\d+)", done.stderr)
        executed = stats.get("number_of_executed_units", 0)
        total += executed
        row = {
            "target": target,
            "inputs": executed,
            "edges": int(coverage[-1]) if coverage else 0,
            "kept": stats.get("new_units_added", 0),
            "slowest_s": stats.get("slowest_unit_time_sec", 0),
            "peak_mib": stats.get("peak_rss_mb", 0),
            "seconds": round(time.monotonic() - start),
            "ok": done.returncode == 0,
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
        if done.returncode:
            bad += 1
            sys.stderr.write(f"{target} failed; its input is in {work}\n{done.stderr[-4000:]}\n")
    sys.stdout.write(json.dumps({"inputs": total, "failed": bad}) + "\n")
    return 1 if bad else 0


def main() -> None:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--only", help="one target, in this process")
    parser.add_argument("--work", help="an empty folder for --only")
    options = parser.parse_args()
    if options.only:
        fuzz_one(options.only, options.inputs, options.work)
    from readers import READERS

    sys.exit(fuzz_all(options.inputs, [*READERS, *INSIDE]))


if __name__ == "__main__":
    main()
