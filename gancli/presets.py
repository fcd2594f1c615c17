"""The paper's configurations as data: a preset for each column of the released set-ups, showing only what differs.

Source: mnist.yaml, cifar10_fully_connected.yaml, cifar10_convolutional.yaml and tfd_pretrain/*.yaml of the released
code; the lecture network is that of a course that teaches the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gancli.config import Config, did_you_mean
from gancli.errors import UsageError


@dataclass(frozen=True)
class Preset:
    """A named configuration.

    Attributes:
        sentence: what it is and what it reproduces.
        dataset: the data set it was made for, used where none is named.
        settings: the fields in which it differs from the defaults of Config.
    """

    sentence: str
    dataset: str
    settings: dict[str, Any]


_TFD_D = "maxout 1200x5 irange=0.005, maxout 1200x5 irange=0.005, dense 1 sigmoid irange=0.005"
# From the last generator: in 3,072 dimensions the Parzen figure prefers an early one, whose samples are blurred.
_CIFAR10 = {"preprocessing": "gcn", "noise": "gaussian", "samples_from": "last"}
# Adam makes small weights grow as fast as large ones: momentum alone leaves the convolutional D, drawn from ±0.005, on
# a plateau for thousands of iterations. And no last layer of G from ±0.5: its samples begin 13 times as loud as the
# data, and are silenced with all that is in them (docs/cifar10-experiments.md).
_CIFAR10_TUNED = {
    "optimizer": "adam",
    "lr": 2e-4,
    "lr_decay": 1.0,
    "adam_beta1": 0.5,
    "average": 0.999,
}
# From the last generator, as the released code takes it: each fold's validation images are test images of another fold,
# so that no epoch can be chosen by some of them and then be scored on all folds.
_TFD = {
    "noise": "gaussian",
    "discriminator": _TFD_D,
    "max_column_norm": 1.9365,
    "lr": 0.05,
    "samples_from": "last",
}

# Sampled from an average of G's weights: a fast G circles around, and gains the more from it
# (docs/mnist-experiments.md).
_FAST_GENERATOR = {
    # G learns 3 times as fast as in the released code, D as fast: D no longer wins the first epochs outright.
    "lr": 0.3,
    "d_cost_factor": 0.15,
    # A falling rate ends all progress, so it stops falling early.
    "lr_decay": 1.00001,
    "lr_min": 0.244,
    "momentum": 0.7,
    # Some seeds' G comes under gradients of ten times the usual norm, of about 1, and would be lost.
    "max_gradient_norm": 10.0,
}

PRESETS: dict[str, Preset] = {
    "mnist": Preset("Figure 2a, Figure 3 and Table 1's MNIST column", "mnist", {}),
    "mnist-tuned": Preset(
        "ours: the mnist networks with a faster generator, and samples from an average of its weights",
        "mnist",
        {**_FAST_GENERATOR, "average": 0.9999, "epochs": 100},
    ),
    "digits": Preset(
        "ours: mnist-tuned in about two minutes, on digits that gancli draws itself",
        "digits",
        {**_FAST_GENERATOR, "average": 0.999, "epochs": 10},
    ),
    "tfd-pretrain": Preset(
        "TFD, first of two stages: a generator of face-sized images",
        "tfd",
        {
            **_TFD,
            "generator": "dense 8000 relu irange=0.05, dense 8000 sigmoid irange=0.05 bias=-2, "
            "dense out sigmoid sparse=100 bias=marginal",
            "epochs": 50,
        },
    ),
    "tfd": Preset(
        "Figure 2b and Table 1's TFD column: two layers below the generator of a tfd-pretrain run (--pretrained RUN)",
        "tfd",
        {
            **_TFD,
            "generator": "dense 8000 relu irange=0.05, dense 100 sigmoid irange=0.05 bias=-2, pretrained",
            "epochs": 22,
        },
    ),
    "cifar10": Preset(
        "Figure 2c: CIFAR-10, fully connected",
        "cifar10",
        {
            **_CIFAR10,
            "generator": "dense 8000 relu irange=0.05, dense 8000 sigmoid irange=0.05, dense out linear irange=0.5",
            "discriminator": "maxout 1600x5 irange=0.005, maxout 1600x5 irange=0.005, dense 1 sigmoid irange=0.005",
            "lr": 0.025,
            # Ours, the one addition to the released values: with them alone, two of the three runs that were taken to
            # 300 iterations became NaN. One that did not had gradients of norm 1 to 20 when calm and up to 70 in
            # bursts, so that this bound acts on the bursts and now and then on a calm step.
            "max_gradient_norm": 10.0,
        },
    ),
    "cifar10-conv": Preset(
        "Figure 2d: CIFAR-10, convolutional D and deconvolutional G",
        "cifar10",
        {
            **_CIFAR10,
            "generator": "dense 8000 relu irange=0.05, dense 8000 sigmoid irange=0.05, reshape 80x10x10, "
            "deconv 3 linear kernel=5 stride=3 irange=0.05",
            "discriminator": "conv-maxout 32x2 kernel=8 pad=4 pool=4 stride=2 irange=0.005, "
            "conv-maxout 32x2 kernel=8 pad=3 pool=4 stride=2 irange=0.005, "
            "conv-maxout 192x2 kernel=5 pad=3 pool=2 stride=2 irange=0.005, "
            "maxout 500x5 irange=0.005, dense 1 sigmoid irange=0.005",
            "batch_size": 128,
            "lr": 0.004,
        },
    ),
    "cifar10-tuned": Preset(
        "ours: Figure 2c's kind of networks in a size for a CPU, Adam, and samples from an average of G's weights",
        "cifar10",
        {
            **_CIFAR10,
            **_CIFAR10_TUNED,
            "generator": "dense 1600 relu irange=0.05, dense 1600 relu irange=0.05, dense out linear irange=0.05",
            "discriminator": "maxout 400x5 irange=0.005, maxout 400x5 irange=0.005, dense 1 sigmoid irange=0.005",
            "epochs": 40,
        },
    ),
    "cifar10-conv-tuned": Preset(
        "ours: Figure 2d's kind of networks in a size for a CPU, Adam, and samples from an average of G's weights",
        "cifar10",
        {
            **_CIFAR10,
            **_CIFAR10_TUNED,
            "generator": "dense 1200 relu irange=0.05, dense 8000 relu irange=0.05, reshape 80x10x10, "
            "deconv 3 linear kernel=5 stride=3 irange=0.05",
            "discriminator": "conv-maxout 32x2 kernel=5 pad=2 pool=4 stride=2 irange=0.005, "
            "conv-maxout 32x2 kernel=5 pad=2 pool=4 stride=2 irange=0.005, "
            "conv-maxout 64x2 kernel=5 pad=2 pool=2 stride=2 irange=0.005, "
            "maxout 240x5 irange=0.005, dense 1 sigmoid irange=0.005",
            "batch_size": 64,
            "epochs": 30,
        },
    ),
    "lecture": Preset(
        "the small network of lectures on the paper: 100-256-784 against 784-256-1, Adam",
        "mnist",
        {
            "generator": "dense 256 relu irange=0.05, dense out sigmoid irange=0.05",
            "discriminator": "dense 256 relu irange=0.05, dense 1 sigmoid irange=0.05",
            "noise": "gaussian",
            "keep_input": 1.0,
            "keep_hidden": 1.0,
            "updates": "alternating",
            "d_cost_factor": 1.0,
            "optimizer": "adam",
            "lr": 2e-4,
            "lr_decay": 1.0,
        },
    ),
    "algorithm1": Preset(
        "the mnist networks trained to the letter of Algorithm 1: D first, then G on fresh noise, minimax loss",
        "mnist",
        {
            "updates": "alternating",
            "loss": "minimax",
            "d_cost_factor": 1.0,
            "generator_dropout": "fresh",
        },
    ),
    "gaussian": Preset(
        "one-dimensional data, as in Figure 1",
        "gaussian",
        {
            "preprocessing": "none",
            "generator": "dense 32 tanh irange=0.5, dense 32 tanh irange=0.3, dense out linear irange=0.3",
            # Drawn biases spread D's kinks over the line; with none, D is linear wherever the data are.
            "discriminator": "maxout 32x3 irange=1 brange=4, maxout 32x3 irange=0.3, dense 1 sigmoid irange=0.3",
            "noise_dim": 1,
            "keep_input": 1.0,
            "keep_hidden": 1.0,
            "batch_size": 200,
            "updates": "alternating",
            "k": 3,
            "optimizer": "adam",
            "lr": 1e-3,
            "adam_beta1": 0.5,
            "lr_decay": 1.0005,
            "lr_min": 1e-5,
            "epochs": 12,
        },
    ),
}

# The preset that `gancli train --dataset X` uses where none is named; data of the user's own take the MNIST networks.
DEFAULT_PRESET = {
    "digits": "digits",
    "mnist": "mnist",
    "fashion-mnist": "mnist",
    "cifar10": "cifar10",
    "tfd": "tfd-pretrain",
    "gaussian": "gaussian",
    "gaussian-mixture": "gaussian",
}


def resolve(preset: str | None, dataset: str | None, changes: dict[str, Any]) -> Config:
    """Combine a preset, a data set and single settings into a configuration.

    Args:
        preset: a name of PRESETS, or None for the data set's own.
        dataset: a data set's name or path, or None for the preset's own.
        changes: settings that were given one by one; they win.

    Raises:
        UsageError: the preset is unknown (with the nearest name) or a value is off.
    """
    if preset is None:
        preset = DEFAULT_PRESET.get(dataset or "digits", "mnist")
    if preset not in PRESETS:
        raise UsageError(f"Unknown preset {preset!r}.{did_you_mean(preset, PRESETS)} Known: {', '.join(PRESETS)}.")
    chosen = PRESETS[preset]
    dataset = chosen.dataset if dataset is None else dataset
    return Config.from_dict({**chosen.settings, "preset": preset, "dataset": dataset, **changes})
