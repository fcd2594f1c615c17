"""What can be reproduced, as data: the data set, the presets, how long they are trained, and the paper's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gancli.config import Config, did_you_mean
from gancli.errors import UsageError
from gancli.presets import PRESETS, resolve
from gancli.reproduce import published
from gancli.reproduce.published import Published


@dataclass(frozen=True)
class Target:
    """A table or figure of the paper that one command brings about.

    Attributes:
        name: as in `gancli reproduce NAME`.
        sentence: what it is.
        dataset: what its networks are trained on.
        presets: the configurations it trains, the first being the one for a single row.
        table: the published rows that ours are set beside; the last is the paper's own.
        epochs: how long a preset is trained where the preset itself leaves that open.
        settings: further fields of the configuration, for every preset.
        published_files: whether other files than the published ones are refused rather than mentioned.
    """

    name: str
    sentence: str
    dataset: str
    presets: tuple[str, ...]
    table: tuple[Published, ...] = ()
    epochs: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    published_files: bool = True

    @property
    def paper(self) -> Published:
        """The paper's own row."""
        return self.table[-1]

    def config(self, preset: str, changes: Mapping[str, Any]) -> Config:
        """Return the configuration of one run.

        Args:
            preset: a preset for this target's data set.
            changes: fields that were given one by one; they win.

        Raises:
            UsageError: the preset is unknown or made for other data, or a value is off.
        """
        if preset not in PRESETS:
            raise UsageError(f"Unknown preset {preset!r}.{did_you_mean(preset, self.known_presets())}")
        if preset not in self.known_presets():
            raise UsageError(
                f"The preset {preset!r} is made for {PRESETS[preset].dataset}; {self.name} takes "
                f"{', '.join(self.known_presets())}."
            )
        lasting = {"epochs": self.epochs[preset]} if preset in self.epochs else {}
        return resolve(preset, self.dataset, {**lasting, **self.settings, **changes})

    def known_presets(self) -> list[str]:
        """Return the presets that are made for this target's data."""
        home = PRESETS[self.presets[0]].dataset
        return [name for name, preset in PRESETS.items() if preset.dataset == home]


TABLE1_MNIST = Target(
    "table1-mnist",
    "the adversarial nets' row of Table 1 on MNIST",
    "mnist",
    ("mnist",),
    published.MNIST,
    # The released configuration has no stopping rule: validation chooses the checkpoint.
    epochs={"mnist": 800},
)
TABLE1_TFD = Target(
    "table1-tfd",
    "the adversarial nets' row of Table 1 on the Toronto Face Database, in two stages",
    "tfd",
    ("tfd-pretrain", "tfd"),
    published.TFD,
)
# No figure of CIFAR-10 is published, so that images that went through JPEG do for looking at.
CIFAR10 = Target("cifar10", "Figure 2 c and d: CIFAR-10", "cifar10", ("cifar10", "cifar10-conv"), published_files=False)
