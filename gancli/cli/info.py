"""`gancli info`."""

from __future__ import annotations

import platform
from typing import Any

import click

from gancli import __version__
from gancli.cli.console import print_json, result_console
from gancli.cli.options import json_option


@click.command()
@json_option
def info(as_json: bool) -> None:
    """Show versions, devices, native modules and presets.

    \b
    gancli info
    gancli info --json
    """
    content = _collect()
    if as_json:
        print_json(content)
        return
    from gancli.presets import PRESETS

    console = result_console(as_json)
    for name in ("version", "python", "torch", "devices"):
        value = content[name]
        console.print(f"{name:<9} {', '.join(value) if isinstance(value, list) else value}", markup=False)
    for name in ("cpu", "cuda"):
        console.print(f"{name:<9} {_native_line(content[name])}", markup=False)
    console.print("presets", markup=False)
    for name, preset in PRESETS.items():
        console.print(f"  {name:<14} {preset.sentence}", markup=False)


def _collect() -> dict[str, Any]:
    import torch

    from gancli.ops import native

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "devices": ["cpu", *(f"cuda:{i} {name}" for i, name in enumerate(gpus))],
        "cpu": native.describe_cpu(),
        "cuda": native.describe_cuda(),
    }


def _native_line(state: dict[str, Any]) -> str:
    """Return one line on a native module: what it can do, or what is missing and how to get it."""
    shown = {name: value for name, value in state.items() if name not in ("built", "reason") and value is not None}
    facts = ", ".join(_fact(name, value) for name, value in shown.items())
    reason = f"; {state['reason']}" if state["reason"] else ""
    return f"native module {f'built: {facts}' if state['built'] else 'not built'}{reason}"


def _fact(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {' '.join(value) if isinstance(value, list) else value}"
