"""From a configuration to two players ready to play."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gancli.config import Config
from gancli.errors import UsageError
from gancli.nets import spec
from gancli.nets.networks import Discriminator, Generator, Shape, initialise_network
from gancli.ranks import ALONE, Ranks
from gancli.train.algorithm1 import Game
from gancli.train.generate import load_generator
from gancli.train.gradient_sums import GradientSums
from gancli.train.optimisers import make_optimiser
from gancli.train.run_folder import RunFolder, open_run
from gancli.train.seeds import make_rng
from gancli.train.shared_momentum import shared_momentum


def resolve_device(name: str) -> torch.device:
    """Return the device that a name means; "auto" is CUDA where there is one.

    Raises:
        UsageError: the name is unknown or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}.") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here."
        )
    return device


def adopt_pretrained(config: Config, ranks: Ranks = ALONE) -> Config:
    """Write the layers of the pretrained run's generator where the text says 'pretrained'; rank 0 alone reads it.

    Source: tfd_pretrain/train.yaml, adversarial.add_layers.
    """
    if config.pretrained is None or "pretrained" not in config.generator:
        return config
    run = Path(config.pretrained)
    generator = ranks.agreed(lambda: open_run(run).config().generator)
    return config.replace(generator=config.generator.replace("pretrained", generator))


def marginals(config: Config, train: Tensor, preprocess: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Return the training mean of every pixel in the space of the networks, (values,) float64, where it is needed.

    Raises:
        UsageError: the mean is no probability, so that there is no bias with which a sigmoid gives it.
    """
    if "bias=marginal" not in config.generator:
        return None
    total = torch.zeros(train[0].numel(), dtype=torch.float64)
    for chunk in train.split(1000):  # so that only a chunk is ever float
        total += preprocess(chunk).flatten(1).sum(dim=0, dtype=torch.float64)
    mean = total / len(train)
    low, high = float(mean.min()), float(mean.max())
    if low < 0 or high > 1:
        raise UsageError(
            f"bias=marginal in --generator needs pixels with means in [0, 1], those of {config.dataset} lie between "
            f"{low:.4g} and {high:.4g} (--preprocessing {config.preprocessing}); bring the data into [0, 1], or end G "
            f"in a layer that reaches them: --generator '{_reaching(config)}'."
        )
    return mean


def _reaching(config: Config) -> str:
    """Return the generator's text with a last layer that puts out any number."""
    *hidden, _ = spec.parse(config.generator, role="generator")
    return spec.render((*hidden, *spec.parse("dense out linear irange=0.05", role="generator")))


def make_networks(config: Config, shape: Shape) -> tuple[Generator, Discriminator]:
    """Build G and D of a configuration, weights still zero.

    Args:
        config: text of both networks, noise_dim, dropout, backend.
        shape: (channels, height, width) of an image.

    Raises:
        UsageError: the layers do not fit together or do not fit the images.
    """
    G = Generator(config.generator, config.noise_dim, shape, backend=config.backend)
    D = Discriminator(
        config.discriminator,
        shape,
        keep_input=config.keep_input,
        keep_hidden=config.keep_hidden,
        backend=config.backend,
    )
    return G, D


def make_game(config: Config, shape: Shape, mean: Tensor | None, device: torch.device, ranks: Ranks = ALONE) -> Game:
    """Build both players with their initial weights and gradient rules.

    Args:
        config: the configuration, after adopt_pretrained.
        shape: (channels, height, width) of an image.
        mean: (values,) mean of the preprocessed training data, for bias=marginal.
        device: where they play.
        ranks: who plays this game together; all begin with rank 0's weights.

    Raises:
        UsageError: the networks do not fit the images, or not the pretrained generator.
    """
    G, D = make_networks(config, shape)
    rng = make_rng(config.seed, "weights")
    initialise_network(G, rng, mean)
    initialise_network(D, rng)
    if config.pretrained is not None and ranks.leads:
        _load_pretrained(G, open_run(Path(config.pretrained)))
    G.to(device)
    D.to(device)
    ranks.broadcast_([*G.parameters(), *D.parameters()])
    (update_G, update_D), sum_gradients = make_rules(config, (G, D), ranks)
    return Game(
        G,
        D,
        update_G,
        update_D,
        k=config.k,
        loss=config.loss,
        d_cost_factor=config.d_cost_factor,
        generator_dropout=config.generator_dropout,
        max_column_norm=config.max_column_norm,
        max_gradient_norm=config.max_gradient_norm,
        share=1 / ranks.size,
        sum_gradients=sum_gradients,
    )


def make_rules(
    config: Config, networks: Sequence[nn.Module], ranks: Ranks
) -> tuple[Sequence[torch.optim.Optimizer], GradientSums]:
    """Return a gradient rule for each network, and what becomes of gradients before a rule uses them."""
    together = shared_momentum(config, ranks, networks)
    if together:
        return together, GradientSums(ALONE, networks)  # the rules themselves add up
    return [make_optimiser(config, network) for network in networks], GradientSums(ranks, networks)


def _load_pretrained(G: Generator, run: RunFolder) -> None:
    """Copy the pretrained generator's weights into the last layers of `G`."""
    source = load_generator(run, torch.device("cpu")).G
    tail = G.weighted[-len(source.weighted) :]
    try:
        for own, theirs in zip(tail, source.weighted, strict=True):
            own.load_state_dict(theirs.state_dict())
    except (RuntimeError, ValueError):
        raise UsageError(
            f"The generator of {run.path} does not fit: the layer before 'pretrained' must put out its "
            f"{source.noise_dim} noise dimensions and the images must be {source.shape}."
        ) from None
