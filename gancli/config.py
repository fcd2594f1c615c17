"""The run configuration, declared once: options, file, validation and help all derive from these fields."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gancli.errors import UsageError
from gancli.nets import spec


def setting(
    default: Any,
    text: str,
    *,
    group: str,
    source: str = "",
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    open_ends: bool = False,
    metavar: str = "",
) -> Any:
    """Declare one setting: default, one line of help, where it comes from, and what values it may take.

    Args:
        default: the value where neither preset nor user says otherwise.
        text: one line of help, with the unit.
        group: the heading under which `gancli train --help` lists it.
        source: section of the paper or line of the released configurations.
        choices: the allowed words.
        least: smallest allowed number.
        most: largest allowed number.
        open_ends: whether `least` itself is excluded.
        metavar: what stands for the value in help.
    """
    return field(
        default=default,
        metadata={
            "text": text,
            "group": group,
            "source": source,
            "choices": choices,
            "least": least,
            "most": most,
            "open_ends": open_ends,
            "metavar": metavar,
        },
    )


@dataclass(frozen=True)
class Config:
    """Everything that determines a run. Presets and options replace single fields.

    The defaults are the released MNIST configuration's, so that a preset shows only what differs.
    """

    # What is learned
    dataset: str = setting("digits", "name of a data set, or a folder of images, or an .npy/.npz file", group="Data")
    preset: str = setting("mnist", "named configuration to start from", group="Data")
    data_dir: str | None = setting(None, "where data sets lie or are downloaded to", group="Data", metavar="DIR")
    fold: int = setting(0, "TFD's fold", group="Data", least=0, most=4)
    preprocessing: str = setting(
        "scale",
        "done to pixels: / 255 (scale); each image less its mean, at L2 norm --gcn-scale (gcn); or nothing (none)",
        group="Data",
        choices=("scale", "gcn", "none"),
        source="cifar10_*.yaml: gcn 55",
    )
    gcn_scale: float = setting(55.0, "L2 norm of an image after gcn", group="Data", least=0, open_ends=True)

    # The networks
    generator: str = setting(
        "dense 1200 relu irange=0.05, dense 1200 relu irange=0.05, dense out sigmoid irange=0.05 bias=marginal",
        "generator G, layer by layer",
        group="Networks",
        metavar="LAYERS",
        source="mnist.yaml",
    )
    discriminator: str = setting(
        "maxout 240x5 irange=0.005, maxout 240x5 irange=0.005, dense 1 sigmoid irange=0.005",
        "discriminator D, layer by layer",
        group="Networks",
        metavar="LAYERS",
        source="mnist.yaml",
    )
    noise: str = setting(
        "uniform",
        "prior of z: uniform on [-√3, √3], gaussian (0, 1), or spherical (gaussian on the unit sphere)",
        group="Networks",
        choices=("uniform", "gaussian", "spherical"),
    )
    noise_dim: int = setting(100, "dimensions of z", group="Networks", least=1)
    keep_input: float = setting(
        0.8,
        "share of D's inputs that dropout keeps, kept ones times 1/share",
        group="Networks",
        least=0,
        most=1,
        open_ends=True,
    )
    keep_hidden: float = setting(
        0.5, "share of D's hidden units that dropout keeps", group="Networks", least=0, most=1, open_ends=True
    )
    max_column_norm: float | None = setting(
        None,
        "after each update, bound the L2 norm of each unit's incoming weights",
        group="Networks",
        least=0,
        open_ends=True,
    )
    pretrained: str | None = setting(
        None,
        "run whose generator stands for the layer 'pretrained' (TFD's second stage)",
        group="Networks",
        metavar="RUN",
    )

    # Algorithm 1
    batch_size: int = setting(100, "minibatch size m", group="Algorithm 1", least=1)
    epochs: int = setting(
        100,
        "epochs to train; an epoch is as many iterations as the training set has minibatches",
        group="Algorithm 1",
        least=1,
    )
    steps: int | None = setting(
        None, "stop after this many iterations, where that is less than --epochs", group="Algorithm 1", least=1
    )
    k: int = setting(1, "discriminator steps per iteration", group="Algorithm 1", least=1)
    updates: str = setting(
        "simultaneous",
        "D, then G on fresh noise (alternating, the paper), or both from one minibatch (simultaneous, the code)",
        group="Algorithm 1",
        choices=("alternating", "simultaneous"),
        source="Algorithm 1; AdversaryCost2",
    )
    loss: str = setting(
        "non-saturating",
        "G's loss: minimax log(1 - D(G(z))), or non-saturating -log D(G(z))",
        group="Algorithm 1",
        choices=("minimax", "non-saturating"),
    )
    d_cost_factor: float = setting(
        0.5, "factor on D's cost: 1 in the paper, 0.5 in the code", group="Algorithm 1", least=0, open_ends=True
    )
    generator_dropout: str = setting(
        "shared",
        "dropout in D for G's gradient: shared (D's own masks, when updates are simultaneous), fresh, or off",
        group="Algorithm 1",
        choices=("shared", "fresh", "off"),
    )

    # The gradient rule
    optimizer: str = setting("sgd", "gradient rule", group="Optimiser", choices=("sgd", "adam"))
    lr: float = setting(0.1, "learning rate", group="Optimiser", least=0, most=1e30, open_ends=True)
    lr_decay: float = setting(
        1.000004, "divide the learning rate by this after every iteration", group="Optimiser", least=1
    )
    lr_min: float = setting(1e-6, "floor of the learning rate", group="Optimiser", least=0)
    anneal_epochs: int = setting(
        0, "epochs over which the rate also falls linearly to zero; 0: it does not", group="Optimiser", least=0
    )
    momentum: float = setting(0.5, "momentum in the first epoch", group="Optimiser", least=0, most=1)
    momentum_final: float = setting(0.7, "momentum from --momentum-epochs on", group="Optimiser", least=0, most=1)
    momentum_epochs: int = setting(250, "epochs over which momentum rises linearly", group="Optimiser", least=1)
    momentum_form: str = setting(
        "pylearn2",
        "rate inside the velocity: v ← m·v - lr·g, θ ← θ + v (pylearn2); or outside: v ← m·v + g, θ ← θ - lr·v (torch)",
        group="Optimiser",
        choices=("pylearn2", "torch"),
    )
    max_gradient_norm: float | None = setting(
        None,
        "scale a network's gradient down to this L2 norm where it exceeds it",
        group="Optimiser",
        least=0,
        open_ends=True,
    )
    max_gradient_norm_from: int = setting(
        0, "iterations without that bound at the beginning of training", group="Optimiser", least=0
    )
    adam_beta1: float = setting(0.9, "Adam's β1", group="Optimiser", least=0, most=0.999999)
    adam_beta2: float = setting(0.999, "Adam's β2", group="Optimiser", least=0, most=0.999999)
    average: float = setting(  # a run may begin with it later: it has no part in what is learned
        0.0,
        "samples come from an exponential average of G's weights that keeps this much in an iteration; 0: from G",
        group="Optimiser",
        least=0,
        most=1,
    )

    # What is watched
    validation_every: int = setting(1, "epochs between validation Parzen estimates; 0: never", group="Run", least=0)
    num_validation: int | None = setting(
        None, "validation examples for σ: by default the first 1,000, TFD's whole split", group="Run", least=1
    )
    samples_from: str = setting(
        "best",
        "the epoch whose generator samples come from: best by validation, or last",
        group="Run",
        choices=("best", "last"),
    )
    num_samples: int = setting(10_000, "samples drawn for each Parzen estimate", group="Run", least=1)
    seed: int = setting(1, "seed of weights, noise, dropout and data order", group="Run", least=0, most=2**31 - 1)
    device: str = setting("auto", "where to compute: auto, cpu, cuda or cuda:N", group="Run")
    backend: str = setting(
        "auto", "implementation of the hot operations", group="Run", choices=("auto", "torch", "native")
    )

    def __post_init__(self) -> None:
        """Check every field against its declaration, then the fields against each other."""
        for declared in dataclasses.fields(self):
            object.__setattr__(self, declared.name, _checked(declared, getattr(self, declared.name)))
        for name in ("generator", "discriminator"):
            layers = spec.parse(getattr(self, name), role=name)
            object.__setattr__(self, name, spec.render(layers))
        if "pretrained" in self.generator and self.pretrained is None:
            raise UsageError("The generator has a layer 'pretrained', so --pretrained RUN must name its run.")

    def replace(self, **changes: Any) -> Config:
        """Return a copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, in the order of declaration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Build a configuration from plain values, e.g. of config.json.

        Raises:
            UsageError: a name is unknown or a value is off.
        """
        known = [declared.name for declared in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise UsageError(f"Unknown setting {name!r}.{did_you_mean(name, known)}")
        return cls(**values)

    def to_json(self) -> str:
        """Return the text of config.json."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"


# What may be changed when a run goes on: how long, where it is computed and what is looked at, not what is learned.
RESUMABLE = ("data_dir", "epochs", "steps", "device", "backend", "validation_every", "samples_from", "average")


def may_change(name: str, there: object, wanted: object) -> bool:
    """Return whether a run may go on with another value of a field; the best generator, once given up, is gone."""
    return there == wanted or (name in RESUMABLE and (name, wanted) != ("samples_from", "best"))


def field_type(declared: dataclasses.Field[Any]) -> tuple[type, bool]:
    """Return a field's plain type and whether it may be None."""
    hint = _type_hints()[declared.name]
    if isinstance(hint, types.UnionType):
        inner = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return inner, True
    return hint, False


@functools.cache
def _type_hints() -> dict[str, Any]:
    """Return the fields' types: evaluated once, since that takes a millisecond."""
    return typing.get_type_hints(Config)


def option_name(field_name: str) -> str:
    """Return the command-line option of a field: batch_size → --batch-size."""
    return "--" + field_name.replace("_", "-")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _checked(declared: dataclasses.Field[Any], value: Any) -> Any:
    """Return `value` in the declared type, or raise UsageError naming option, expected and got."""
    kind, optional = field_type(declared)
    option = option_name(declared.name)
    if value is None:
        if optional:
            return None
        raise UsageError(f"{option} must be a {kind.__name__}, got nothing.")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{option} must be a {kind.__name__}, got {value!r}.")
    rules = declared.metadata
    if rules["choices"] and value not in rules["choices"]:
        hint = did_you_mean(str(value), rules["choices"])
        raise UsageError(f"{option} must be one of {', '.join(rules['choices'])}, got {value!r}.{hint}")
    if isinstance(value, (int, float)):
        _check_range(option, value, rules)
    return value


def _check_range(option: str, value: float, rules: Mapping[str, Any]) -> None:
    least, most = rules["least"], rules["most"]
    too_small = least is not None and (value <= least if rules["open_ends"] else value < least)
    if not math.isfinite(value) or too_small or (most is not None and value > most):
        lower = "" if least is None else (f"above {least}" if rules["open_ends"] else f"at least {least}")
        upper = "" if most is None else f"at most {most}"
        raise UsageError(f"{option} must be {' and '.join(filter(None, (lower, upper))) or 'finite'}, got {value}.")
