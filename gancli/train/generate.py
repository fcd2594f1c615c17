"""Drawing from a trained generator: samples, walks through z, and the files they are kept in."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancli import __version__
from gancli.config import Config
from gancli.data.preprocess import Preprocessing
from gancli.data.samples import SamplesFile
from gancli.errors import DataError, UsageError
from gancli.nets.networks import Generator
from gancli.nets.noise import draw_noise
from gancli.ranks import ALONE, Ranks
from gancli.train.checkpoints import load_checkpoint, load_newest
from gancli.train.run_folder import RunFolder
from gancli.train.seeds import make_rng

# z is drawn and mapped this many at a time, whatever the caller asks for: sample i then depends on its seed alone.
CHUNK = 1000


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator with what is needed to use it: its configuration, preprocessing and position in training.

    Attributes:
        version: of gancli, that wrote its checkpoint.
    """

    G: Generator
    config: Config
    preprocessing: Preprocessing
    run: RunFolder
    step: int
    version: str

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return next(self.G.parameters()).device


def load_generator(
    run: RunFolder, device: torch.device, *, which: str = "best", backend: str = "auto"
) -> TrainedGenerator:
    """Load a run's generator.

    Args:
        run: where it was trained.
        device: where it shall run.
        which: "best" (by validation Parzen; the last where no best one was kept) or "last".
        backend: of the generator's operations, now.

    Raises:
        DataError: there is no checkpoint, or it is damaged.
    """
    if which == "best" and run.best.exists():
        content, path = load_checkpoint(run.best), run.best
    else:
        content, path = load_newest(run.last, run.previous)
    G = generator_of(content, path, backend)
    config = Config.from_dict(content["config"])
    preprocessing = Preprocessing.from_dict(content["preprocessing"])
    version = str(content["version"])
    return TrainedGenerator(G.to(device).eval(), config, preprocessing, run, content["step"], version)


def generator_of(content: Mapping[str, Any], path: Path, backend: str = "auto") -> Generator:
    """Build the generator that a checkpoint holds, on the CPU.

    The layers of the configuration are held against the weights first: a few words of text can ask for any amount of
    memory, the weights in the file cannot.

    Raises:
        DataError: the configuration cannot be used, or does not fit the weights.
    """
    try:
        config = Config.from_dict(content["config"])
        with torch.device("meta"):
            G = Generator(config.generator, config.noise_dim, tuple(content["shape"]), backend=backend)
        G.load_state_dict(content.get("average", content["G"]), assign=True)
    except UsageError as error:
        raise DataError(f"The configuration in {path} cannot be used: {error}") from error
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError):
        raise DataError(f"The weights in {path} do not fit the generator that its config describes.") from None
    return G.float()


def noise_chunks(G: Generator, noise: str, num: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Draw the z of `num` samples in whole chunks, (1000, noise_dim) float32 each, of which the last may have too many.

    Args:
        G: generator.
        noise: kind of the noise prior.
        num: how many samples in all.
        rng: source of z, on the device of G.
    """
    for _ in range(0, num, CHUNK):
        yield draw_noise(noise, CHUNK, G.noise_dim, rng)


@torch.no_grad()
def draw_samples(G: Generator, noise: str, num: int, rng: torch.Generator, ranks: Ranks = ALONE) -> Tensor:
    """Draw `num` samples, (num, channels, height, width) float32 on the device of G.

    Several ranks draw a part of the chunks each and get all of them, the very samples that one rank draws.
    """
    chunks = range(-(-num // CHUNK))
    own = chunks[ranks.part(len(chunks))]
    x = [G(z).view(1, CHUNK, *G.shape) for n, z in enumerate(noise_chunks(G, noise, num, rng)) if n in own]
    rows = torch.cat(x) if x else torch.empty(0, CHUNK, *G.shape, device=rng.device)
    samples = ranks.gather(rows, len(chunks)).flatten(0, 1)
    return samples if len(samples) == num else samples[:num].clone()  # a view would be saved with all that it views


@torch.no_grad()
def interpolate(G: Generator, points: Tensor, steps: int, *, closed: bool = False) -> Tensor:
    """Walk linearly between points of z space, as Figure 3 does.

    x_t = G((1 − t) z_a + t z_b), t from 0 to 1

    Args:
        G: generator.
        points: (p, noise_dim); open: consecutive pairs (0, 1), (2, 3), …; closed: a loop 0 → 1 → … → p − 1 → 0.
        steps: images from each point to the next; open walks show both ends.
        closed: whether to close the loop, whose images then repeat seamlessly.

    Returns:
        Open: (p/2, steps, channels, height, width). Closed: (1, p·steps, channels, height, width).

    Raises:
        UsageError: fewer than two steps or points, or an odd number of points for an open walk.

    Source: Figure 3 of the paper.
    """
    if steps < 2 or len(points) < 2 or (not closed and len(points) % 2):
        raise UsageError(f"Interpolation needs 2 or more steps and pairs of points, got {steps} and {len(points)}.")
    if closed:
        ends, t = torch.roll(points, -1, dims=0), torch.arange(steps) / steps
        starts = points
    else:
        starts, ends, t = points[0::2], points[1::2], torch.linspace(0, 1, steps)
    t = t.to(points)[None, :, None]
    z = (1 - t) * starts[:, None] + t * ends[:, None]
    x = torch.cat([G(part) for part in z.flatten(0, 1).split(CHUNK)])
    return x.view(1 if closed else len(starts), -1, *G.shape)


def samples_file(trained: TrainedGenerator, samples: Tensor, seed: int) -> SamplesFile:
    """Wrap samples with what `gancli parzen` and `gancli sample` need to know about them."""
    return SamplesFile(
        samples,
        dataset=trained.config.dataset,
        preset=trained.config.preset,
        run=str(trained.run.path),
        seed=seed,
        preprocessing=trained.preprocessing.as_dict(),
        versions=versions(),
    )


def sampling_rng(seed: int, device: torch.device) -> torch.Generator:
    """Return the generator that every command draws z for samples from."""
    return make_rng(seed, "samples", device)


def versions() -> dict[str, str]:
    """Return the versions that made a file."""
    return {
        "gancli": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
