"""On what a figure was made."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from gancli.ops import native


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Return the processor or GPU, its cores and threads, and the system, as plain values."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "native": native.describe_cpu()["isa"] or "not built",
    }


def _processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
