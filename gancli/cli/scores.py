"""A Parzen score in words: never a figure without its sample count, σ rule and validation size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (heading, text) lines for one ParzenScore as a dict."""
    grid = score["estimate"]
    chosen = "given" if len(score["sigmas"]) == 1 else f"best of {len(score['sigmas'])} on the validation examples"
    lines = [
        ("Parzen", f"{figure(grid)} nats at σ = {grid['sigma']:.4f} ({chosen})"),
    ]
    if score["refined"] is not None:
        refined = score["refined"]
        lines.append(("  refined", f"{figure(refined)} nats at σ = {refined['sigma']:.4f}"))
    lines.append(
        (
            "  from",
            f"{score['num_samples']:,} samples, {score['num_test']:,} test and {score['num_validation']:,} validation "
            f"examples, {score['seconds']:.1f} s",
        )
    )
    return lines


def figure(estimate: Mapping[str, float]) -> str:
    """Return "225.1 ± 2.0"-like text: mean and standard error over the test examples."""
    return f"{estimate['log_likelihood']:,.2f} ± {estimate['standard_error']:,.2f}"
