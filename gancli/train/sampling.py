"""Pictures and samples files from a trained run: Figure 2, Figure 3, and what Table 1 is computed from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gancli.data.dataset import Dataset
from gancli.data.registry import load
from gancli.data.samples import SamplesFile, read_samples, write_samples
from gancli.errors import UsageError
from gancli.evaluate.neighbours import nearest_neighbours
from gancli.evaluate.parzen import ParzenScore
from gancli.evaluate.scoring import PAPER_NUM_SAMPLES, prepared_folds, require_shape
from gancli.evaluate.streaming import ConvergenceRow, ParzenStream, stream_score
from gancli.figures.grid import save_sample_grid_with_neighbours
from gancli.figures.interpolation import save_animation, save_interpolation
from gancli.nets.noise import draw_noise
from gancli.ranks import ALONE, Ranks
from gancli.train.generate import (
    CHUNK,
    TrainedGenerator,
    draw_samples,
    interpolate,
    load_generator,
    noise_chunks,
    samples_file,
    sampling_rng,
)
from gancli.train.pictures import save_samples_picture
from gancli.train.run_folder import RunFolder, open_run
from gancli.train.setup import resolve_device

GRID_SAMPLES, GRID_LIMIT = 100, 10_000  # in a picture: unless another number is asked for, and at most
SAMPLES_PER_ROW = 5  # Figure 2: five samples, then the neighbour of the fifth
GIF_STEPS = 24  # pictures from one z to the next; at the usual duration about a second and a half


def open_generator(run: RunFolder, device: str, *, which: str = "best", backend: str = "auto") -> TrainedGenerator:
    """Load a run's generator onto a device by name, with the backend asked for now rather than when it was trained."""
    return load_generator(run, resolve_device(device), which=which, backend=backend)


def draw(trained: TrainedGenerator, num: int, seed: int, ranks: Ranks = ALONE) -> Tensor:
    """Draw the first `num` samples of a seed; sample i depends on the seed and i alone."""
    return draw_samples(trained.G, trained.config.noise, num, sampling_rng(seed, trained.device), ranks)


def samples_of_run(
    run: RunFolder, num: int, seed: int | None, device: str, backend: str = "auto", ranks: Ranks = ALONE
) -> SamplesFile:
    """Return a run's samples: its samples.pt where that has them and is up to date, freshly drawn ones otherwise."""
    own_seed = run.config().seed
    if seed in (None, own_seed) and run.samples_file.exists() and run.final_summary():
        kept = read_samples(run.samples_file)
        if len(kept.samples) == num:
            return kept
    trained = open_generator(run, device, backend=backend)
    seed = own_seed if seed is None else seed
    return samples_file(trained, draw(trained, num, seed, ranks), seed)


def samples_to_score(
    path: Path | None,
    run: Path | None,
    num: int | None,
    seed: int | None,
    device: str,
    backend: str,
    data_dir: str | None,
    ranks: Ranks = ALONE,
) -> tuple[SamplesFile, str | None]:
    """Return samples to score and where their data set lies: those of a file, else of a run, else of the newest run.

    Args:
        path: a samples file or a folder of images.
        run: a run folder.
        num: how many; None takes all of a file, 10,000 of a run.
        seed: of samples that a run draws; None takes the run's.
        device: where they are drawn.
        backend: of the generator's operations.
        data_dir: where data sets lie, if the caller knows; else the run's configuration says.
        ranks: who draws them together.

    Raises:
        UsageError: the file has fewer samples.
        DataError: the file or the run cannot be read.
    """
    if path is None:
        opened = open_run(run)
        file = samples_of_run(opened, num or PAPER_NUM_SAMPLES, seed, device, backend, ranks)
        return file, data_dir or opened.config().data_dir
    file = read_samples(path)
    if num is not None and num > len(file.samples):
        raise UsageError(f"--num-samples {num}: {path} has {len(file.samples)}.")
    return replace(file, samples=file.samples[:num]), data_dir


def stream_of_run(
    trained: TrainedGenerator,
    dataset: Dataset,
    num: int,
    seed: int,
    *,
    sigmas: Sequence[float],
    num_validation: int | None = None,
    fold: int | None = None,
    backend: str = "auto",
    ranks: Ranks = ALONE,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[tuple[ParzenScore, ...], list[ConvergenceRow]]:
    """Draw samples chunk by chunk and fold them into a Parzen score; memory does not grow with their number.

    Args:
        trained: the generator; samples are drawn and scored on its device.
        dataset: what they are scored against.
        num: how many samples.
        seed: of z; the first samples are those that any smaller number would give.
        sigmas: kernel widths to choose among.
        num_validation: examples that choose σ; None for the protocol's.
        fold: TFD's fold; None for all.
        backend: "auto", "torch" or "native".
        ranks: who shares the work.
        progress: called with the number of samples scored so far.

    Returns:
        The final scores, one per fold, and the convergence table.
    """
    require_shape(trained.G.shape, dataset)
    device = trained.device
    folds = list(
        prepared_folds(dataset, trained.preprocessing, num_validation=num_validation, fold=fold, device=device)
    )

    @torch.no_grad()
    def make(z: Tensor) -> Tensor:
        return torch.cat([trained.G(part) for part in z.split(CHUNK)])

    stream = ParzenStream(folds, sigmas, backend=backend, make=make, ranks=ranks)
    chunks = noise_chunks(trained.G, trained.config.noise, num, sampling_rng(seed, device))
    rows = stream_score(stream, (z[: num - n * CHUNK] for n, z in enumerate(chunks)), num, progress=progress)
    return stream.scores(), rows


def save_samples(trained: TrainedGenerator, out: Path, *, num: int | None, seed: int, data_dir: str | None) -> None:
    """Draw samples and write them to .pt or .npy, or as a picture to .png.

    Args:
        trained: the generator.
        out: the file.
        num: how many; None for the protocol's 10,000, or for a grid of 100.
        seed: of z.
        data_dir: where data sets lie, for a picture that shows the data's density too.

    Raises:
        UsageError: the ending is another, or a grid cannot hold that many.
    """
    if out.suffix not in (".pt", ".npy", ".png"):
        raise UsageError(f"--out must end in .pt, .npy or .png, got {out.name!r}.")
    single_numbers = trained.G.shape == (1, 1, 1)
    grid = out.suffix == ".png" and not single_numbers
    if grid and num is not None and num > GRID_LIMIT:
        raise UsageError(
            f"--num {num}: a picture shows at most {GRID_LIMIT:,} samples; ask for fewer, or for a .pt or .npy file."
        )
    samples = draw(trained, num or (GRID_SAMPLES if grid else PAPER_NUM_SAMPLES), seed)
    if grid:
        columns = math.ceil(math.sqrt(len(samples)))
        save_samples_picture(out, samples, trained.preprocessing, None, columns=columns)
    elif out.suffix == ".png":
        dataset = load(trained.config.dataset, data_dir or trained.config.data_dir, fold=trained.config.fold)
        save_samples_picture(out, samples, trained.preprocessing, dataset.train)
    else:
        write_samples(out, samples_file(trained, samples, seed))


def save_walk(trained: TrainedGenerator, out: Path, *, rows: int, steps: int, seed: int, closed: bool) -> list[Path]:
    """Write Figure 3: walks between points of z space, as a PNG and as a GIF beside it.

    Args:
        trained: the generator.
        out: a .png or .gif; the other is written beside it with the same name.
        rows: pairs of points (open), or points on the loop (closed).
        steps: pictures per walk in the PNG.
        seed: of the points.
        closed: a single loop through all points instead of pairs.

    Returns:
        The files written.

    Raises:
        UsageError: the ending is another, or the generator makes no pictures.
    """
    _require_pictures(trained)
    if out.suffix not in (".png", ".gif"):
        raise UsageError(f"--out must end in .png or .gif for --interpolate, got {out.name!r}.")
    G = trained.G
    rng = sampling_rng(seed, trained.device)
    points = draw_noise(trained.config.noise, rows if closed else 2 * rows, G.noise_dim, rng)

    def pixels(number: int) -> Tensor:
        x = interpolate(G, points, number, closed=closed)
        return trained.preprocessing.to_display(x.flatten(0, 1)).cpu().view(*x.shape)

    still, moving = out.with_suffix(".png"), out.with_suffix(".gif")
    frames = pixels(steps)
    # A loop through many points is one long walk: a row for each point keeps the picture on a page.
    save_interpolation(still, frames.view(rows, steps, *G.shape) if closed else frames)
    frames = pixels(GIF_STEPS)
    save_animation(moving, frames[0] if closed else frames.transpose(0, 1), bounce=not closed)
    return [still, moving]


def save_neighbours(trained: TrainedGenerator, out: Path, *, num: int, seed: int, data_dir: str | None) -> list[float]:
    """Write Figure 2: rows of samples, and beside each row's last the nearest training example.

    Returns:
        The Euclidean distance of each shown neighbour.

    Raises:
        UsageError: `out` is no .png, or the generator makes no pictures.
    """
    _require_pictures(trained)
    if out.suffix != ".png":
        raise UsageError(f"--out must end in .png for --nearest, got {out.name!r}.")
    rows = max(1, -(-num // SAMPLES_PER_ROW))
    dataset = load(trained.config.dataset, data_dir or trained.config.data_dir, fold=trained.config.fold)
    require_shape(trained.G.shape, dataset)  # data of one's own may have changed
    samples, train = draw(trained, rows * SAMPLES_PER_ROW, seed), dataset.train
    last = samples[SAMPLES_PER_ROW - 1 :: SAMPLES_PER_ROW]
    index, distances = nearest_neighbours(last, train, preprocess=trained.preprocessing)
    # Through the preprocessing and back, so that the neighbour is seen as D saw it, with the samples' contrast.
    neighbours = trained.preprocessing(train[index.cpu()])
    show = trained.preprocessing.to_display
    save_sample_grid_with_neighbours(out, show(samples).cpu(), show(neighbours), columns=SAMPLES_PER_ROW)
    values: list[float] = distances.tolist()
    return values


def makes_pictures(trained: TrainedGenerator) -> bool:
    """Say whether samples are images in grey or colour."""
    return trained.G.shape[0] in (1, 3) and min(trained.G.shape[1:]) > 1


def _require_pictures(trained: TrainedGenerator) -> None:
    if not makes_pictures(trained):
        raise UsageError(f"The run's samples have shape {trained.G.shape} and are no pictures; use --out samples.pt.")
