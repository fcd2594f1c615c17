"""What of a training goes into its checkpoints, and the way back; `checkpoints` lists the entries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gancli.errors import DataError, UsageError
from gancli.train import schedules
from gancli.train.checkpoints import require_same_data
from gancli.train.optimisers import restore_rule
from gancli.train.streams import take_up_stream

if TYPE_CHECKING:
    from gancli.train.trainer import Trainer


def generator_state(training: Trainer) -> dict[str, Any]:
    """Return what it takes to draw samples, and D beside it."""
    average = {"average": training.average.network.state_dict()} if training.config.average else {}
    return {
        "config": training.config.as_dict(),
        "shape": list(training.dataset.shape),
        "preprocessing": training.preprocessing.as_dict(),
        "step": training.step,
        "G": training.game.G.state_dict(),
        "D": training.game.D.state_dict(),
        **average,
    }


def _take_up_average(training: Trainer, content: Mapping[str, Any]) -> None:
    """Go on with the average of G's weights, or begin one where the run had none."""
    average = training.average
    if not average.decay:
        return
    if "average" in content:
        average.network.load_state_dict(content["average"])
        average.since = int(content.get("average_since", 0))
    elif training.step < training.total:
        average.begin(training.step)
    else:
        raise UsageError(
            f"--average {average.decay:g} begins with the iterations to come, and {training.run.path} has none left; "
            "ask for more with --epochs."
        )


def whole_state(training: Trainer, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides how the run goes on, and the metrics row that is to be written.

    All ranks must ask for it together, since each has its own stream of random numbers.
    """
    config, step, per_epoch = training.config, training.step, training.per_epoch
    return {
        **generator_state(training),
        "epoch": step // per_epoch,
        "position": _position(training),
        "examples": len(training.dataset.train),
        "examples_crc32": training.examples_crc32,
        "lr": schedules.learning_rate(config, step, per_epoch),
        "momentum": schedules.momentum(config, step // per_epoch + 1),
        "average_since": training.average.since,
        "update_G": training.game.update_G.state_dict(),
        "update_D": training.game.update_D.state_dict(),
        "rng": training.ranks.gather(training.rng.get_state()[None], training.ranks.size),
        "monitor": training.monitor.state(),
        "best": training.best,
        "largest_variance": training.health.largest_variance,
        "seconds": training.seconds,
        "row": dict(row),
    }


def take_up(training: Trainer, content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Bring a training to where a checkpoint was written.

    Args:
        training: of the same configuration; changed in place.
        content: of the checkpoint.
        path: where it lies.

    Returns:
        The row of metrics that belongs to it.

    Raises:
        DataError: it is of other data or of another configuration.
    """
    require_same_data(content, path, training.config.dataset, training.dataset, training.examples_crc32)
    try:
        training.game.G.load_state_dict(content["G"])
        training.game.D.load_state_dict(content["D"])
        restore_rule(training.game.update_G, content["update_G"])
        restore_rule(training.game.update_D, content["update_D"])
        training.monitor.load(content["monitor"])
        training.step, training.best = int(content["step"]), float(content["best"])
        _take_up_average(training, content)
        states = torch.atleast_2d(content["rng"])
        take_up_stream(training.rng, states, seed=training.config.seed, ranks=training.ranks, step=training.step)
        training.seconds_before = float(content.get("seconds", 0.0))
        training.health.largest_variance = float(content.get("largest_variance", 0.0))
        if content.get("position", _position(training)) != _position(training):
            raise ValueError(f"position {content['position']} in the data does not belong to step {training.step}")
        row = dict(content["row"])
        if row and (row["step"] != training.step or not json.dumps(row)):
            raise ValueError("its row of metrics is another iteration's")
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} does not fit the run's configuration: {reason.rstrip('.')}.") from None
    training.saved, training.saved_in = training.step, path
    return row


def _position(training: Trainer) -> int:
    """Return how many minibatches have been drawn since the run began."""
    return training.config.k * training.step
