"""Generators, discriminators and the maxout layers they are made of.

The names below load torch when they are first used; `gancli.nets.spec` never does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gancli.nets.layers import Deconv, Dense, Dropout, Maxout, MaxoutConv2d
    from gancli.nets.networks import Discriminator, Generator, initialise_network
    from gancli.nets.noise import draw_noise

_WHERE = {
    "Deconv": "layers",
    "Dense": "layers",
    "Discriminator": "networks",
    "Dropout": "layers",
    "Generator": "networks",
    "Maxout": "layers",
    "MaxoutConv2d": "layers",
    "draw_noise": "noise",
    "initialise_network": "networks",
}

__all__ = [
    "Deconv",
    "Dense",
    "Discriminator",
    "Dropout",
    "Generator",
    "Maxout",
    "MaxoutConv2d",
    "draw_noise",
    "initialise_network",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"gancli.nets.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
