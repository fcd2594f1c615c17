"""Presets against the paper's released configurations, copied by hand from their table into literals here."""

from __future__ import annotations

import math

import pytest

from gancli.config import Config
from gancli.errors import UsageError
from gancli.presets import DEFAULT_PRESET, PRESETS, resolve
from gancli.train.setup import make_networks

SHAPES = {
    "mnist": (1, 28, 28),
    "digits": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "tfd": (1, 48, 48),
    "gaussian": (1, 1, 1),
}


def dense(inputs: int, units: int) -> int:
    return units * inputs + units


def maxout(inputs: int, units: int, pieces: int) -> int:
    return units * pieces * (inputs + 1)


# Sums of (inputs + 1) · outputs, layer by layer, worked out from the table of configurations.
PARAMETERS = {
    "mnist": (
        dense(100, 1200) + dense(1200, 1200) + dense(1200, 784),
        maxout(784, 240, 5) + maxout(240, 240, 5) + dense(240, 1),
    ),
    "tfd-pretrain": (
        dense(100, 8000) + dense(8000, 8000) + dense(8000, 2304),
        maxout(2304, 1200, 5) + maxout(1200, 1200, 5) + dense(1200, 1),
    ),
    "cifar10": (
        dense(100, 8000) + dense(8000, 8000) + dense(8000, 3072),
        maxout(3072, 1600, 5) + maxout(1600, 1600, 5) + dense(1600, 1),
    ),
    "cifar10-conv": (
        # transposed convolution 80 → 3 of 5×5, with a bias for each of 3×32×32 values
        dense(100, 8000) + dense(8000, 8000) + 80 * 3 * 25 + 3 * 32 * 32,
        # 33 → 16, 15 → 7, 9 → 5 after pooling to the edge; then 192·5·5 values reach the fully connected layer
        64 * (3 * 64 + 1) + 64 * (32 * 64 + 1) + 384 * (32 * 25 + 1) + maxout(192 * 5 * 5, 500, 5) + dense(500, 1),
    ),
    "lecture": (dense(100, 256) + dense(256, 784), dense(784, 256) + dense(256, 1)),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_those_of_the_released_configuration(name: str) -> None:
    G, D = make_networks(resolve(name, None, {}), SHAPES[PRESETS[name].dataset])
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in (G, D))
    assert counts == PARAMETERS[name]


# noise, lr, batch, epochs (None: open-ended), preprocessing, max column norm
HYPERPARAMETERS = {
    "mnist": ("uniform", 0.1, 100, None, "scale", None),
    "tfd-pretrain": ("gaussian", 0.05, 100, 50, "scale", 1.9365),
    "tfd": ("gaussian", 0.05, 100, 22, "scale", 1.9365),
    "cifar10": ("gaussian", 0.025, 100, None, "gcn", None),
    "cifar10-conv": ("gaussian", 0.004, 128, None, "gcn", None),
}


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_hyperparameters_are_those_of_the_released_configuration(name: str) -> None:
    config = resolve(name, None, {"pretrained": "runs/stage1"} if name == "tfd" else {})
    noise, lr, batch, epochs, preprocessing, norm = HYPERPARAMETERS[name]
    assert (config.noise, config.lr, config.batch_size) == (noise, lr, batch)
    assert (config.preprocessing, config.max_column_norm) == (preprocessing, norm)
    assert epochs is None or config.epochs == epochs
    assert (config.noise_dim, config.keep_input, config.keep_hidden) == (100, 0.8, 0.5)
    assert (config.momentum, config.momentum_final, config.momentum_epochs) == (0.5, 0.7, 250)
    assert (config.lr_decay, config.lr_min, config.k) == (1.000004, 1e-6, 1)
    assert (config.updates, config.loss, config.d_cost_factor) == ("simultaneous", "non-saturating", 0.5)
    assert (config.generator_dropout, config.momentum_form) == ("shared", "pylearn2")


def test_the_one_addition_to_released_values_is_the_gradient_bound_of_cifar10() -> None:
    bounds = {name: resolve(name, None, {}).max_gradient_norm for name in HYPERPARAMETERS if name != "tfd"}
    assert bounds == {"mnist": None, "tfd-pretrain": None, "cifar10": 10.0, "cifar10-conv": None}


def test_algorithm1_preset_follows_the_paper_where_the_code_differs() -> None:
    config = resolve("algorithm1", None, {})
    assert (config.updates, config.loss, config.d_cost_factor) == ("alternating", "minimax", 1.0)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "tfd"])
def test_every_preset_builds_networks_for_its_data_set(name: str) -> None:
    shape = SHAPES[PRESETS[name].dataset]
    G, _ = make_networks(resolve(name, None, {}), shape)
    assert math.prod(G.shape) == math.prod(shape)


def test_every_default_preset_exists() -> None:
    assert set(DEFAULT_PRESET.values()) <= set(PRESETS)


def test_nothing_said_means_digits() -> None:
    config = resolve(None, None, {})
    assert (config.preset, config.dataset) == ("digits", "digits")


def test_a_setting_given_one_by_one_wins_over_the_preset() -> None:
    assert resolve("cifar10", None, {"lr": 0.5}).lr == 0.5
    assert resolve("cifar10", None, {"lr": 0.5}).preprocessing == "gcn"


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cifar10-conv'"):
        resolve("cifar10_conv", None, {})


def test_config_survives_its_own_dict() -> None:
    config = resolve("cifar10-conv", None, {"seed": 7})
    assert Config.from_dict(config.as_dict()) == config


BAD_SETTINGS = [
    ({"lr": 0.0}, "--lr must be above 0 and at most 1e+30, got 0.0"),
    ({"lr": 1e38}, "--lr must be above 0 and at most 1e+30, got 1e+38"),  # beyond what Adam can divide in float32
    ({"lr": float("nan")}, "--lr must be"),
    ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
    ({"keep_input": 1.5}, "--keep-input must be above 0 and at most 1, got 1.5"),
    ({"loss": "minmax"}, "Did you mean 'minimax'"),
    ({"epochs": 2.5}, "--epochs must be a int, got 2.5"),
    ({"seed": True}, "--seed must be a int, got True"),
    ({"rate": 1}, "Unknown setting 'rate'"),
    ({"generator": "dense 1200"}, "expected an activation"),
    ({"generator": "dense big relu"}, "expected a size such as 1200"),
    ({"generator": "maxout 240 irange=1"}, "expected a size such as 240x5"),
    ({"generator": "dense 10 relu colour=2"}, "unknown word 'colour=2'"),
    ({"generator": "dense 10 relu irange=-1"}, "irange= must be at least 0"),
    ({"generator": ""}, "expected one of dense"),
    ({"generator": "pretrained"}, "--pretrained RUN must name"),
    ({"discriminator": "maxout 240x5"}, "must end with 'dense 1 sigmoid'"),
    ({"discriminator": "conv-maxout 32x2 kernel=8 pool=4, dense 1 sigmoid"}, "stride= is missing"),
]


@pytest.mark.parametrize(("settings", "sentence"), BAD_SETTINGS)
def test_bad_setting_is_refused_with_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve("mnist", None, settings)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2
