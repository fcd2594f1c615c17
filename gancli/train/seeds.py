"""One seed for a run, and an independent stream of random numbers for each purpose."""

from __future__ import annotations

import hashlib

import torch


def make_rng(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Return the generator of one purpose ("weights", "play", "order/3", …).

    Streams of different purposes or seeds have nothing to do with each other: the state comes from a hash of both.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
