"""Give the native operations what readers let through of mutated files; csrc/tests/check_sanitized_inputs.sh runs it.

The whole chain, as the commands have it: samples files are scored; a stranger's run is sampled from and trained for an
iteration; data sets are trained on for an iteration and scored. The module's sanitizers end the process at the first
access outside an array and at the first undefined operation; here, an exception other than the one-sentence refusal
does. The input then stays in the folder that is named.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gzip
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from readers import INSIDE, READERS, one_sentence, saved
from torch import Tensor

import gancli
import gancli.data.cifar10 as cifar10
import gancli.train.trainer
from gancli.config import Config
from gancli.data.dataset import Dataset
from gancli.data.folder import load_folder
from gancli.data.idx import read_idx
from gancli.data.samples import SamplesFile, read_samples
from gancli.data.sources import CIFAR10_MEMBERS
from gancli.data.tfd import load_tfd
from gancli.data.torchfile import CHECKSUM, digest
from gancli.errors import GancliError
from gancli.evaluate.scoring import score_samples
from gancli.nets.noise import draw_noise
from gancli.ops import native
from gancli.train.checkpoints import load_checkpoint
from gancli.train.generate import generator_of
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

CALLS = ("parzen_log_sum_exp", "maxout_forward", "maxout_backward", "dropout", "momentum_update", "count_nonzeros")
MOST_VALUES = 1 << 20  # of samples that are scored: a small file can stand for an image of 4096 × 4096
MOST_K = 4  # discriminator steps of an iteration: a stranger's configuration may want any number
IMAGES = ("png", "gif", "jpeg", "tiff", "webp", "bmp", "pgm")
SAMPLES = ("npy", "npz", "npz, its array", "pt", "pt, its pickle", *IMAGES)


class Silent:
    """Watches a training without a word."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


# Mutations ------------------------------------------------------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Overwrite, insert, remove, repeat or cut a few bytes; one input in ten stays as it was."""
    data = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 4)) if data else 0):
        where, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 1, 2, 4, 8))
        match rng.randrange(8):
            case 0 | 1 | 2:
                data[where : where + length] = rng.randbytes(length)[: len(data) - where]
            case 3:
                data[where : where + 4] = rng.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\x80\x7f", b"\0\0\xc0\x7f")
                )
            case 4 if where < len(data):
                data[where] ^= 1 << rng.randrange(8)
            case 5:
                data[where:where] = data[:length]
            case 6:
                del data[where : where + length]
            case 7 if rng.random() < 0.2:
                del data[where:]
    return bytes(data)


def strange(tensor: Tensor, rng: random.Random) -> Tensor:
    """Return values, a layout, a type or a shape that nobody meant."""
    noise = np.random.default_rng(rng.randrange(1 << 32))
    match rng.randrange(9):
        case 0:  # any bits: NaN, infinity, denormal numbers
            bits = noise.integers(0, 256, tensor.numel() * tensor.element_size(), dtype=np.uint8)
            return torch.from_numpy(bits).view(tensor.dtype).view(tensor.shape) if tensor.ndim else tensor
        case 1:
            return tensor * 10.0 ** rng.randint(-45, 38) if tensor.is_floating_point() else tensor
        case 2:  # last dimension first in memory
            return tensor.movedim(-1, 0).contiguous().movedim(0, -1) if tensor.ndim > 1 else tensor
        case 3:  # one number for all: stride 0
            return tensor.reshape(-1)[:1].view((1,) * tensor.ndim).expand(tensor.shape) if tensor.numel() else tensor
        case 4:  # a part of something larger, at an odd place
            whole = torch.cat([tensor.reshape(-1), tensor.reshape(-1), tensor.new_ones(5)])
            return whole[3 : 3 + tensor.numel()].view(tensor.shape)
        case 5:
            return torch.stack([tensor, tensor], dim=-1)[..., 0]
        case 6:
            return tensor.to(rng.choice((torch.float16, torch.float64, torch.bfloat16, torch.int32, torch.uint8)))
        case 7:
            return tensor[:-1] if tensor.ndim else tensor[None]
        case _:
            return torch.cat([tensor, tensor]) if tensor.ndim else tensor


# Samples files --------------------------------------------------------------------------------------------------------


def some_images(rng: random.Random) -> np.ndarray[Any, Any]:
    """Return a few images of a random shape, bytes or floats."""
    noise = np.random.default_rng(rng.randrange(1 << 32))
    shape = (rng.choice((1, 2, 3, 15, 16, 17, 40)), rng.choice((1, 1, 3)), rng.randint(1, 12), rng.randint(1, 12))
    if rng.random() < 0.5:
        return noise.integers(0, 256, shape, dtype=np.uint8)
    return noise.random(shape).astype(rng.choice((np.float32, np.float32, np.float64, np.float16)))


def samples_input(kind: str, rng: random.Random) -> bytes:
    """Return a mutated samples file."""
    name, inner, wrap = INSIDE.get(kind, (kind, bytes, bytes))
    good = READERS[name].good()
    if kind == "pt" and rng.random() < 0.5:
        tensor = strange(torch.from_numpy(some_images(rng)), rng)
        good = saved(lambda buffer: torch.save({"samples": tensor}, buffer))
    elif kind in ("npy", "npz", "npz, its array", "pt"):
        images = some_images(rng)
        save: dict[str, Callable[[io.BytesIO], object]] = {
            "npy": lambda buffer: np.save(buffer, np.asfortranarray(images) if rng.random() < 0.2 else images),
            "npz": lambda buffer: np.savez(buffer, a=images),
            "pt": lambda buffer: torch.save({"samples": torch.from_numpy(images)}, buffer),
        }
        good = saved(save[name])
    return wrap(mutated(inner(good), rng))


def score(file: SamplesFile, rng: random.Random) -> None:
    """Score samples against a few random images of their shape, by the command's own way."""
    shape = tuple(file.samples.shape[1:])
    samples = file.samples[: max(1, MOST_VALUES // file.samples[0].numel())]
    noise = torch.Generator().manual_seed(rng.randrange(1 << 32))
    images = torch.randint(0, 256, (rng.choice((3, 16, 33)), *shape), dtype=torch.uint8, generator=noise)
    images = images[: max(3, MOST_VALUES // images[0].numel())]
    dataset = Dataset("any", images, images, images)
    # Twice: as kernel centres, and as the points whose density is asked for.
    score_samples(SamplesFile(samples), dataset, preprocessing="scale")
    if samples.dtype == torch.uint8:
        score_samples(
            SamplesFile(images.float() / 255), Dataset("any", samples, samples, samples), preprocessing="scale"
        )


def samples(kind: str, place: Path, rng: random.Random) -> bool:
    """Make, read and score one samples file; returns whether it was let through."""
    path = place / READERS[INSIDE.get(kind, (kind,))[0]].name
    path.write_bytes(samples_input(kind, rng))
    with allowed_to_refuse() as outcome:
        file = read_samples(place if kind in IMAGES else path)
        outcome.let_through = True
        score(file, rng)
    return outcome.let_through


# Games ----------------------------------------------------------------------------------------------------------------


def some_config(rng: random.Random) -> Config:
    """Return a small game of random sizes, below and above the kernels' tiles."""
    width, units, pieces = (rng.choice(sizes) for sizes in ((1, 3, 16, 33, 70), (1, 6, 17, 40), (1, 2, 3, 5)))
    return Config(
        dataset="./any.npy",
        generator=f"dense {width} relu irange=0.5, dense out {rng.choice(('sigmoid', 'tanh', 'linear'))} irange=0.5",
        discriminator=f"maxout {units}x{pieces} irange=0.5, dense {width} relu irange=0.5, dense 1 sigmoid irange=0.5",
        noise_dim=rng.choice((1, 5, 33)),
        batch_size=rng.choice((1, 2, 7, 20)),
        num_samples=20,
        updates=rng.choice(("simultaneous", "alternating")),
        generator_dropout=rng.choice(("shared", "fresh", "off")),
        max_column_norm=rng.choice((None, 1.0)),
        seed=rng.randrange(1 << 31),
    )


def trainer_for(config: Config, dataset: Dataset, run: RunFolder) -> Trainer:
    """Return the trainer of a run on a data set that has been read already."""
    gancli.train.trainer.load = lambda *_, **__: dataset  # type: ignore[attr-defined]
    return Trainer(config.replace(k=min(config.k, MOST_K), device="cpu"), run, Silent())


def play(trainer: Trainer) -> None:
    """Train for an iteration and score the generator's samples."""
    trainer.game.G.train()
    trainer.game.D.train()
    trainer._iterate(1)
    trainer.judge.validate(trainer.average.network)


# Runs of strangers ----------------------------------------------------------------------------------------------------


def dataset_of(shape: tuple[int, ...]) -> Dataset:
    """Return 40 random images of a shape."""
    images = torch.randint(0, 256, (40, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Dataset("any", images, images[:9], images[:9])


def checkpoints(number: int, place: Path, rng: random.Random) -> list[dict[str, Any]]:
    """Train a few runs for an iteration; returns the contents of their checkpoints."""
    contents = []
    for n in range(number):
        shape = (rng.choice((1, 3)), rng.randint(1, 7), rng.randint(1, 7))
        trainer = trainer_for(some_config(rng), dataset_of(shape), RunFolder(place / f"run-{n}"))
        trainer.run.write_config(trainer.config)
        trainer._iterate(1)
        trainer._save({})
        content = load_checkpoint(trainer.run.last)
        del content[CHECKSUM]
        contents.append(content)
    return contents


def tensors_in(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every tensor in a checkpoint."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, Tensor):
            yield (*path, key)
        yield from tensors_in(value, (*path, key))


def spoil(content: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a checkpoint with some entries that nobody meant; its checksum is right, as a stranger's would be."""
    content = copy.deepcopy(content)
    paths = list(tensors_in(content))
    for *way, last in rng.sample(paths, rng.randint(0, min(3, len(paths)))):
        entry = content
        for key in way:
            entry = entry[key]
        entry[last] = strange(entry[last], rng)
    if rng.random() < 0.3:
        key = rng.choice(
            ("batch_size", "noise_dim", "k", "keep_input", "keep_hidden", "lr", "momentum", "momentum_final")
        )
        content["config"][key] = rng.choice((0, 1, 3, 0.999, 1e-9, 1e30, content["config"][key]))
    if rng.random() < 0.1:
        content["shape"][rng.randrange(3)] += rng.choice((-1, 1))
    return content


def checkpoint(content: dict[str, Any], place: Path, rng: random.Random, *, by_bytes: bool) -> bool:
    """Write a spoiled checkpoint, sample from it and train on; returns whether it could be sampled from.

    With `by_bytes` the file itself is mutated: of format 1, which has no checksum that would reveal that.
    """
    run = RunFolder(place / "run")
    run.last.parent.mkdir(parents=True, exist_ok=True)
    if by_bytes:
        run.last.write_bytes(mutated(saved(lambda buffer: torch.save({**content, "format": 1}, buffer)), rng))
    else:
        content = spoil(content, rng)
        whole = {**content, CHECKSUM: digest(content)}
        run.last.write_bytes(saved(lambda buffer: torch.save(whole, buffer)))
    with allowed_to_refuse() as outcome:
        found = load_checkpoint(run.last)
        G = generator_of(found, run.last)
        outcome.let_through = True
        config = Config.from_dict(found["config"])
        with torch.no_grad():
            G(draw_noise(config.noise, rng.choice((1, 2, 17, 40)), G.noise_dim, torch.Generator()))
        trainer = trainer_for(config, dataset_of(tuple(found["shape"])), run)
        trainer.restore()
        play(trainer)
    return outcome.let_through


# Data sets ------------------------------------------------------------------------------------------------------------


def idx_input(rng: random.Random) -> bytes:
    """Return a mutated IDX file of images, compressed or not."""
    images = np.random.default_rng(rng.randrange(1 << 32)).integers(
        0, 256, (rng.randint(1, 30), rng.randint(1, 9), rng.randint(1, 9)), dtype=np.uint8
    )
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    content = mutated(header + images.tobytes(), rng)
    return gzip.compress(content, 1) if rng.random() < 0.5 else content


def cifar10_input(place: Path, rng: random.Random) -> None:
    """Write the six files of a CIFAR-10 of two images a file, one of them mutated."""
    folder = place / "cifar-10-batches-bin"
    folder.mkdir(exist_ok=True)
    spoilt = rng.choice(list(CIFAR10_MEMBERS))
    for name in CIFAR10_MEMBERS:
        records = b"".join(bytes([rng.randrange(10)]) + rng.randbytes(3072) for _ in range(cifar10._RECORDS))
        (folder / name).write_bytes(mutated(records, rng) if name == spoilt else records)


def mat_input(rng: random.Random) -> bytes:
    """Return a mutated TFD of eight images."""
    from scipy.io import savemat

    images = np.frombuffer(rng.randbytes(8 * 48 * 48), dtype=np.uint8).reshape(8, 48, 48)
    folds = np.tile(np.array([[0], [0], [2], [2], [3], [3], [1], [0]], dtype=np.float64), 5)
    content = {"images": images, "folds": folds}
    return mutated(saved(lambda buffer: savemat(buffer, content, do_compression=rng.random() < 0.2)), rng)


def read_dataset(kind: str, place: Path, rng: random.Random) -> Dataset:
    """Write a mutated data set and read it."""
    if kind == "idx":
        (place / "a").write_bytes(idx_input(rng))
        images = read_idx(place / "a", kind="images")[:, None]
        return Dataset("idx", images, images, images)
    if kind == "cifar10":
        cifar10_input(place, rng)
        images = cifar10.load_cifar10(place).train
        return Dataset("cifar10", images, images, images)
    if kind == "mat":
        (place / "TFD_48x48.mat").write_bytes(mat_input(rng))
        return load_tfd(place)
    (place / "a.npy").write_bytes(samples_input("npy", rng))
    return load_folder(place / "a.npy")


def data_set(kind: str, place: Path, rng: random.Random) -> bool:
    """Make, read, train on and score one data set; returns whether it was let through."""
    with allowed_to_refuse() as outcome:
        dataset = read_dataset(kind, place, rng)
        outcome.let_through = True
        config = some_config(rng)
        play(
            trainer_for(
                config.replace(
                    batch_size=min(config.batch_size, len(dataset.train)),
                    preprocessing=rng.choice(("scale", "gcn", "none")),
                ),
                dataset,
                RunFolder(place / "run"),
            )
        )
    return outcome.let_through


# The run --------------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of an input."""

    let_through: bool = False


@contextmanager
def allowed_to_refuse() -> Iterator[Outcome]:
    """Take a refusal in one sentence, by the reader or by what works on what it let through."""
    outcome = Outcome()
    try:
        yield outcome
    except GancliError as error:
        one_sentence(error)


def count_calls(module: ModuleType) -> Counter[str]:
    """Count the calls of the module's operations from now on."""
    counts: Counter[str] = Counter()

    def counted(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            counts[name] += 1
            return operation(*arguments, **more)

        return call

    for name in CALLS:
        setattr(module, name, counted(name, getattr(module, name)))
    return counts


def load_sanitized(folder: Path) -> ModuleType:
    """Return gancli._cpu as built in `folder`, once it has been seen to end a process that reads beyond an array."""
    gancli.__path__.insert(0, str(folder))
    module, reason = native.load("_cpu")
    assert module is not None, reason
    assert Path(str(module.__file__)).parent == folder, module.__file__
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        values = torch.zeros(64)
        module.count_nonzeros(values.data_ptr(), 65)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] != 0, "a read beyond the end of an array went unnoticed"
    assert hasattr(ctypes.CDLL(None), "__asan_init")
    return module


def chains(place: Path, rng: random.Random) -> dict[str, tuple[int, Callable[[Path], bool]]]:
    """Return every chain with its share of the inputs."""
    contents = checkpoints(30, place, rng)
    every: dict[str, tuple[int, Callable[[Path], bool]]] = {}
    for kind in SAMPLES:
        every[kind] = (2 if kind in IMAGES else 6, lambda folder, kind=kind: samples(kind, folder, rng))  # type: ignore[misc]
    for how, by_bytes in (("bytes", True), ("entries", False)):
        every[f"checkpoint, its {how}"] = (
            8,
            lambda folder, by_bytes=by_bytes: checkpoint(rng.choice(contents), folder, rng, by_bytes=by_bytes),  # type: ignore[misc]
        )
    for kind in ("idx", "cifar10", "mat", "npy"):
        every[f"data set, {kind}"] = (3, lambda folder, kind=kind: data_set(kind, folder, rng))  # type: ignore[misc]
    return every


def main() -> None:
    """Run every chain; the sanitizers' own exit ends it otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--module", type=Path, required=True, metavar="DIR", help="where the sanitized gancli._cpu is")
    parser.add_argument("--inputs", type=int, default=500, help="how many in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="chains whose names begin so")
    options = parser.parse_args()
    module = load_sanitized(options.module.resolve())
    cifar10._RECORDS, cifar10.CIFAR10_MEMBER_BYTES = 2, 2 * cifar10._RECORD_BYTES  # type: ignore[attr-defined]
    rng, place = random.Random(options.seed), Path(tempfile.mkdtemp(prefix="gancli-sanitized-"))
    sys.stdout.write(f"seed {options.seed}; an input that fails is in {place}\n")
    every = {kind: chain for kind, chain in chains(place, rng).items() if kind.startswith(options.only)}
    calls = count_calls(module)
    shares, totals, start = sum(share for share, _ in every.values()), Counter[str](), time.process_time()
    for kind, (share, chain) in every.items():
        inputs = -(-options.inputs * share // shares)
        before, through = calls.total(), 0
        for _ in range(inputs):
            folder = place / "input"
            folder.mkdir()
            os.environ["GANCLI_BACKEND"] = rng.choice(("auto", "native"))
            os.environ["GANCLI_CPU_ISA"] = rng.choice(module.instruction_sets())
            through += chain(folder)
            shutil.rmtree(folder)
        row = {"inputs": inputs, "let_through": through, "calls": calls.total() - before}
        totals.update(row)
        sys.stdout.write(f"{kind:24}" + "".join(f"{name} {value:<8,} " for name, value in row.items()) + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{'all':24}" + "".join(f"{name} {value:<8,} " for name, value in totals.items()) + "\n")
    sys.stdout.write(
        ", ".join(f"{name} {calls[name]:,}" for name in CALLS) + f"; {time.process_time() - start:.0f} s\n"
    )
    assert options.only or all(calls[name] for name in CALLS), "an operation was never called"
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
